"""The gateway, asked as a stranger asks it."""

import grpc

from delivery.doctor import ask
from delivery.doctor.check import Check
from delivery.doctor.checks.strangers import any_size, other_sites
from delivery.doctor.deployment import Deployment
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from errors import FiguresError
from prometheus import GatewayFigures

INDEX_RPC = "inference.GRPCInferenceService/RepositoryIndex"
REFUSED = {401, 403}
CLOSED_RPC = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


def _answers(deployment: Deployment) -> Seen:
    url = deployment.settings.gateway.url
    return closed(url) if ask.answers(f"{url}/healthz") else is_open(f"nothing answers at {url}")


def _ready(deployment: Deployment) -> Seen:
    answer = ask.plain("GET", f"{deployment.settings.gateway.url}/readyz")
    return closed("ready") if answer.ok else is_open(f"not ready: {' '.join(answer.text.split())[:200]}")


def _strangers(deployment: Deployment) -> Seen:
    gateway, sockets = deployment.settings.gateway, deployment.sockets
    if sockets.is_shut(gateway.host, gateway.port):
        asks = ask.plain("GET", f"{gateway.url}/models").status_code in REFUSED
        return closed("loopback only" if asks else "loopback only; behind a proxy nobody would be asked for a key")
    outside = sockets.outside() if sockets.is_here(gateway.host) else gateway.host
    if outside is None:
        return not_checked("this machine has no address that others use")
    answer = ask.plain("GET", f"http://{outside}:{gateway.port}/models")
    if answer.status_code in REFUSED:
        return closed(f"{outside} is refused without a key (status {answer.status_code})")
    return is_open(f"GET /models on {outside} answers without a key")


def _strangers_rpc(deployment: Deployment) -> Seen:
    gateway, sockets = deployment.settings.gateway, deployment.sockets
    if gateway.grpc_port is None:
        return closed("no gRPC")
    if sockets.is_shut(gateway.host, gateway.grpc_port):
        return closed("loopback only")
    outside = sockets.outside() if sockets.is_here(gateway.host) else gateway.host
    code = ask.call(f"{outside}:{gateway.grpc_port}", INDEX_RPC)
    if code in CLOSED_RPC:
        return closed(f"{outside} is refused without a key")
    if code is grpc.StatusCode.UNAVAILABLE:
        return not_checked(f"nothing answers on port {gateway.grpc_port}")
    return is_open(f"{outside}:{gateway.grpc_port} answers without a key ({code.name})")


def _plain(deployment: Deployment) -> Seen:
    gateway = deployment.settings.gateway
    if deployment.sockets.is_shut(gateway.host, gateway.port):
        return closed("loopback only")
    return warning("it speaks HTTP to other machines: keys and pictures travel in the clear")


def _cors(deployment: Deployment) -> Seen:
    asked = {"Access-Control-Request-Method": "POST"}
    return other_sites("OPTIONS", f"{deployment.settings.gateway.url}/models", asked)


def _size(deployment: Deployment) -> Seen:
    gateway = deployment.settings.gateway
    return any_size(f"{gateway.url}/models/{gateway.default_vision_model}/predict", {"Accept": "*/*"})


def _control(deployment: Deployment) -> Seen:
    url = f"{deployment.settings.gateway.url}/v2/repository/models/{ask.NOBODY}/load"
    status = ask.plain("POST", url).status_code
    if status in REFUSED:
        return closed(f"refused (status {status})")
    return warning(f"clients without a key may load and unload models (status {status} for one that nobody has)")


def _figures(deployment: Deployment) -> Seen:
    try:
        GatewayFigures(deployment.settings.gateway).look()
    except FiguresError as error:
        return warning(f"uploads cannot watch a new version, and the scaler keeps all workers: {error}")
    return closed("uploads and the scaler can read them")


KEYS = "gateway.security.api_keys, gateway.insecure=false"
CHECKS = (
    Check("it answers", "make up", _answers, comes_first=True),
    Check("ready", "what it names; make status", _ready),
    Check("its figures", "gateway.api_key_file, docs/keys.md", _figures),
    Check("strangers on other machines", KEYS, _strangers),
    Check("strangers over gRPC", f"{KEYS}, or gateway.grpc_port=null", _strangers_rpc),
    Check("keys in the clear", "gateway.host=127.0.0.1 and TLS in front, docs/tls.md", _plain),
    Check("pages of other sites", "gateway.security.cors_origins=[]", _cors),
    Check("requests of any size", "gateway.max_body_bytes", _size),
    Check("models loaded by clients", "gateway.repository_control=false", _control),
)
