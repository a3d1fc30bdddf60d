"""The gateway and the policy edge, examined as a client without a key sees them."""

import grpc

from delivery.doctor import probes
from delivery.doctor.check import Check, Result, closed, is_open, not_checked, warning
from delivery.doctor.deployment import Deployment
from delivery.doctor.probes import any_size, other_sites, reach
from errors import MetricsError
from prometheus import GatewayMetrics, addresses

INDEX_RPC = "inference.GRPCInferenceService/RepositoryIndex"
REFUSED = {401, 403}
CLOSED_RPC = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def _gateway_answers(deployment: Deployment) -> Result:
    try:
        [url] = addresses(deployment.settings.gateway)
    except MetricsError as error:
        return is_open(str(error))
    return closed(url) if probes.answers(f"{url}/healthz") else is_open(f"nothing answers at {url}")


def _ready(deployment: Deployment) -> Result:
    answer = probes.plain("GET", f"{deployment.settings.gateway.url}/readyz")
    return closed("ready") if answer.ok else is_open(f"not ready: {' '.join(answer.text.split())[:200]}")


def _other_machines(deployment: Deployment) -> Result:
    gateway, sockets = deployment.settings.gateway, deployment.sockets
    if sockets.is_shut(gateway.host, gateway.port):
        asks = probes.plain("GET", f"{gateway.url}/models").status_code in REFUSED
        return closed("loopback only" if asks else "loopback only; behind a proxy no key would be required")
    outside = sockets.outside() if sockets.is_here(gateway.host) else gateway.host
    if outside is None:
        return not_checked("this machine has no address that others use")
    answer = probes.plain("GET", f"http://{outside}:{gateway.port}/models")
    if answer.status_code in REFUSED:
        return closed(f"{outside} is refused without a key (status {answer.status_code})")
    return is_open(f"GET /models on {outside} answers without a key")


def _other_machines_rpc(deployment: Deployment) -> Result:
    gateway, sockets = deployment.settings.gateway, deployment.sockets
    if gateway.grpc_port is None:
        return closed("no gRPC")
    if sockets.is_shut(gateway.host, gateway.grpc_port):
        return closed("loopback only")
    outside = sockets.outside() if sockets.is_here(gateway.host) else gateway.host
    code = probes.call(f"{outside}:{gateway.grpc_port}", INDEX_RPC)
    if code in CLOSED_RPC:
        return closed(f"{outside} is refused without a key")
    if code is grpc.StatusCode.UNAVAILABLE:
        return not_checked(f"nothing answers on port {gateway.grpc_port}")
    return is_open(f"{outside}:{gateway.grpc_port} answers without a key ({code.name})")


def _encrypted(deployment: Deployment) -> Result:
    gateway = deployment.settings.gateway
    if deployment.sockets.is_shut(gateway.host, gateway.port):
        return closed("loopback only")
    return warning("it serves other machines over HTTP: keys and images are sent unencrypted")


def _cors(deployment: Deployment) -> Result:
    asked = {"Access-Control-Request-Method": "POST"}
    return other_sites("OPTIONS", f"{deployment.settings.gateway.url}/models", asked)


def _gateway_size(deployment: Deployment) -> Result:
    gateway = deployment.settings.gateway
    return any_size(f"{gateway.url}/v2/repository/index", {"Accept": "*/*"})


def _control(deployment: Deployment) -> Result:
    url = f"{deployment.settings.gateway.url}/v2/repository/models/{probes.UNUSED_NAME}/load"
    status = probes.plain("POST", url).status_code
    if status in REFUSED:
        return closed(f"refused (status {status})")
    return warning(f"clients without a key may load and unload models (status {status} for an unknown one)")


def _metrics(deployment: Deployment) -> Result:
    try:
        GatewayMetrics(deployment.settings.gateway).look()
    except MetricsError as error:
        return warning(f"uploads cannot watch a new version, and the scaler keeps all workers: {error}")
    return closed("uploads and the scaler can read them")


KEYS = "gateway.security.api_keys, gateway.insecure=false"
GATEWAY = (
    Check("it answers", "make up", _gateway_answers, comes_first=True),
    Check("ready", "what it names; make status", _ready),
    Check("its figures", "gateway.api_key_file, docs/keys.md", _metrics),
    Check("other machines without a key", KEYS, _other_machines),
    Check("clients without a key over gRPC", f"{KEYS}, or gateway.grpc_port=null", _other_machines_rpc),
    Check("keys sent unencrypted", "gateway.host=127.0.0.1 and TLS in front, docs/tls.md", _encrypted),
    Check("pages of other sites", "gateway.security.cors_origins=[]", _cors),
    Check("requests of any size", "gateway.max_body_bytes", _gateway_size),
    Check("models loaded by clients", "gateway.repository_control=false", _control),
)


def _edge_answers(deployment: Deployment) -> Result:
    if not (deployment.state / "edge" / "nginx.conf").is_file():
        return not_checked("none was made here")
    url = deployment.settings.edge.url
    return closed(url) if probes.answers(f"{url}/healthz") else is_open(f"nothing answers at {url}")


def _edge_reach(deployment: Deployment) -> Result:
    edge = deployment.settings.edge
    wide = is_open("no key is required")
    return reach(deployment.sockets, edge.host, edge.port, wide=wide)


def _edge_size(deployment: Deployment) -> Result:
    return any_size(f"{deployment.settings.edge.url}/predict")


EDGE = (
    Check("it answers", "make edge MODEL=name", _edge_answers, comes_first=True),
    Check("other machines without a key", "edge.host=127.0.0.1, and a proxy with keys in front", _edge_reach),
    Check("requests of any size", "edge.max_body_bytes", _edge_size),
)
