"""Who reaches TorchServe, and what it answers to whoever brings no key."""

import grpc

from delivery.doctor import ask
from delivery.doctor.check import Check
from delivery.doctor.checks.strangers import other_sites
from delivery.doctor.deployment import Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.doctor.sockets import WIDE, place, reach
from settings.schema import TorchServeSettings

MANAGEMENT_RPC = "org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels"
INFERENCE_RPC = "org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping"
NO_GRPC = not_checked("this engine speaks no gRPC of its own")
TOKENS = "disable_token_authorization=false in docker/config.properties, and no --disable-token-auth"


def _answers(host: Host) -> Seen:
    away = [url for url in (host.node.inference_url, host.node.management_url) if not ask.answers(url)]
    return is_open(f"nothing answers at {' and '.join(away)}") if away else closed(host.node.inference_url)


def _inference_key(host: Host) -> Seen:
    answer = ask.plain("POST", f"{host.node.inference_url}/predictions/{ask.NOBODY}")
    if _wants_key(answer.status_code, answer.text):
        return closed("a prediction without a key is refused")
    return is_open(f"a prediction without a key is taken (status {answer.status_code} for a model that is not there)")


def _management_key(host: Host) -> Seen:
    if host.is_open:
        return is_open("GET /models answers whoever asks: models can be put in and taken away")
    return closed("GET /models without a key is refused")


def _workflow_key(host: Host) -> Seen:
    answer = ask.plain("GET", f"{host.node.management_url}/workflows")
    return is_open("GET /workflows answers without a key") if answer.ok else closed("refused without a key")


def _management_port(host: Host) -> Seen:
    return reach(host.deployment.sockets, *place(host.node.management_url), wide=WIDE)


def _inference_port(host: Host) -> Seen:
    wide = warning("other machines reach it past the gateway; only its key of 48 bits stands between")
    return reach(host.deployment.sockets, *place(host.node.inference_url), wide=wide)


def _metrics_port(host: Host) -> Seen:
    engine = host.deployment.settings.engine
    if engine.nodes:
        return not_checked("no setting says on which port a node has its metrics")
    wide = warning("other machines read them: TorchServe asks nobody for a key there")
    return reach(host.deployment.sockets, engine.host, engine.metrics_port, wide=wide)


def _other_ports(host: Host) -> Seen:
    """Ports that no setting names: a debugger, JMX, or another TorchServe's defaults."""
    process = host.process
    engine = host.deployment.settings.engine
    known = {engine.metrics_port}
    known |= (
        {engine.grpc_inference_port, engine.grpc_management_port} if isinstance(engine, TorchServeSettings) else set()
    )
    known |= {place(url)[1] for url in (host.node.inference_url, host.node.management_url)}
    others = [one for one in host.deployment.sockets.listeners if one.pid == process.pid and one.port not in known]
    words = ", ".join(f"{one.address}:{one.port}" for one in others)
    if not others:
        return closed("none")
    return warning(words) if all(one.is_loopback for one in others) else is_open(words)


def _cors(host: Host) -> Seen:
    return other_sites("GET", f"{host.node.inference_url}/ping")


def _grpc_management(host: Host) -> Seen:
    engine = host.deployment.settings.engine
    return (
        _grpc(host, engine.grpc_management_port, MANAGEMENT_RPC) if isinstance(engine, TorchServeSettings) else NO_GRPC
    )


def _grpc_inference(host: Host) -> Seen:
    engine = host.deployment.settings.engine
    return _grpc(host, engine.grpc_inference_port, INFERENCE_RPC) if isinstance(engine, TorchServeSettings) else NO_GRPC


def _grpc(host: Host, port: int, method: str) -> Seen:
    engine, sockets = host.deployment.settings.engine, host.deployment.sockets
    if engine.nodes:
        return not_checked("no setting says on which port a node speaks gRPC")
    code = ask.call(f"{engine.host}:{port}", method)
    if code is grpc.StatusCode.UNAVAILABLE:
        return closed(f"nothing answers on port {port}")
    if code is grpc.StatusCode.OK:
        return is_open(f"port {port} answers without a key")
    wider = [f"{one.address}:{port}" for one in sockets.on(port) if not one.is_loopback]
    if wider:
        return is_open(f"{', '.join(wider)}: other machines reach it (CVE-2024-35199), though it asks for a key")
    return closed(f"port {port} refuses a call without a key ({code.name})")


def _wants_key(status: int, text: str) -> bool:
    """TorchServe refuses a key with 400 and its own exception; a proxy in front of it with 401 or 403."""
    return status in {401, 403} or (status == 400 and "InvalidKeyException" in text)


CHECKS = (
    Check("it answers", "make up", _answers, comes_first=True),
    Check("predictions without a key", TOKENS, _inference_key),
    Check("Management API without a key", TOKENS, _management_key),
    Check("Workflow API without a key", TOKENS, _workflow_key),
    Check("Management API beyond this machine", "engine.host=127.0.0.1, or a private network", _management_port),
    Check("Inference API beyond this machine", "engine.host=127.0.0.1, or a private network", _inference_port),
    Check("gRPC Management API (CVE-2024-35199)", "engine.host=127.0.0.1; tokens on", _grpc_management),
    Check("gRPC Inference API (CVE-2024-35199)", "engine.host=127.0.0.1; tokens on", _grpc_inference),
    Check("metrics beyond this machine", "engine.host=127.0.0.1, or a private network", _metrics_port),
    Check("pages of other sites", "no cors_allowed_origin in docker/config.properties", _cors),
    Check("ports that no setting names", "vmargs in docker/config.properties: no JMX, no debugger", _other_ports),
)
