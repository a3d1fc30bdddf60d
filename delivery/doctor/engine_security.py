"""Security of one engine host: who reaches it, its keys, and the archives that it registers."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from delivery.doctor import probes
from delivery.doctor.check import Check, Result, closed, is_open, not_checked, warning
from delivery.doctor.deployment import ExaminedHost
from delivery.doctor.probes import WIDE, other_sites, others_read, others_write, reach
from delivery.sockets import host_and_port
from settings.load import ROOT
from settings.schema import LocalStoreSettings, NginxStoreSettings, S3StoreSettings, TorchServeSettings

MANAGEMENT_RPC = "org.pytorch.serve.grpc.management.ManagementAPIsService/ListModels"
INFERENCE_RPC = "org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping"
NO_GRPC = not_checked("this engine has no gRPC server")
TOKENS = "disable_token_authorization=false in docker/config.properties, and no --disable-token-auth"
OWN = "in its config.properties"  # of a TorchServe that others start
OWN_TOKENS = f"disable_token_authorization=false {OWN}, and no --disable-token-auth"


def _engine_answers(host: ExaminedHost) -> Result:
    away = [url for url in (host.node.inference_url, host.node.management_url) if not probes.answers(url)]
    return is_open(f"nothing answers at {' and '.join(away)}") if away else closed(host.node.inference_url)


def _inference_key(host: ExaminedHost) -> Result:
    answer = probes.plain("POST", f"{host.node.inference_url}/predictions/{probes.UNUSED_NAME}")
    if _wants_key(answer.status_code, answer.text):
        return closed("a prediction without a key is refused")
    return is_open(f"a prediction without a key is accepted (status {answer.status_code} for an unknown model)")


def _management_key(host: ExaminedHost) -> Result:
    if host.is_open:
        return is_open("GET /models answers without a key: anybody can register and remove models")
    return closed("GET /models without a key is refused")


def _workflow_key(host: ExaminedHost) -> Result:
    answer = probes.plain("GET", f"{host.node.management_url}/workflows")
    return is_open("GET /workflows answers without a key") if answer.ok else closed("refused without a key")


def _management_port(host: ExaminedHost) -> Result:
    return reach(host.deployment.sockets, *host_and_port(host.node.management_url), wide=WIDE)


def _inference_port(host: ExaminedHost) -> Result:
    wide = warning("other machines reach it past the gateway; only its 48-bit key protects it")
    return reach(host.deployment.sockets, *host_and_port(host.node.inference_url), wide=wide)


def _metrics_port(host: ExaminedHost) -> Result:
    engine = host.deployment.settings.engine
    if engine.nodes:
        return not_checked("no setting names the metrics port of a node")
    wide = warning("other machines read them: TorchServe requires no key there")
    return reach(host.deployment.sockets, engine.host, engine.metrics_port, wide=wide)


def _other_ports(host: ExaminedHost) -> Result:
    """Ports that no setting names: a debugger, JMX, or another TorchServe's defaults."""
    process = host.process
    engine = host.deployment.settings.engine
    known = {engine.metrics_port}
    known |= (
        {engine.grpc_inference_port, engine.grpc_management_port} if isinstance(engine, TorchServeSettings) else set()
    )
    known |= {host_and_port(url)[1] for url in (host.node.inference_url, host.node.management_url)}
    others = [one for one in host.deployment.sockets.listeners if one.pid == process.pid and one.port not in known]
    words = ", ".join(f"{one.address}:{one.port}" for one in others)
    if not others:
        return closed("none")
    return warning(words) if all(one.is_loopback for one in others) else is_open(words)


def _cors(host: ExaminedHost) -> Result:
    return other_sites("GET", f"{host.node.inference_url}/ping")


def _grpc_management(host: ExaminedHost) -> Result:
    engine = host.deployment.settings.engine
    return (
        _grpc(host, engine.grpc_management_port, MANAGEMENT_RPC) if isinstance(engine, TorchServeSettings) else NO_GRPC
    )


def _grpc_inference(host: ExaminedHost) -> Result:
    engine = host.deployment.settings.engine
    return _grpc(host, engine.grpc_inference_port, INFERENCE_RPC) if isinstance(engine, TorchServeSettings) else NO_GRPC


def _grpc(host: ExaminedHost, port: int, method: str) -> Result:
    engine, sockets = host.deployment.settings.engine, host.deployment.sockets
    if engine.nodes:
        return not_checked("no setting names the gRPC port of a node")
    code = probes.call(f"{engine.host}:{port}", method)
    if code is grpc.StatusCode.UNAVAILABLE:
        return closed(f"nothing answers on port {port}")
    if code is grpc.StatusCode.OK:
        return is_open(f"port {port} answers without a key")
    wider = [f"{one.address}:{port}" for one in sockets.on(port) if not one.is_loopback]
    if wider:
        return is_open(f"{', '.join(wider)}: other machines reach it (CVE-2024-35199), although it requires a key")
    return closed(f"port {port} refuses a call without a key ({code.name})")


def _wants_key(status: int, text: str) -> bool:
    """Return True for a refused key: 400 with TorchServe's own exception, or 401 or 403 of a proxy in front of it."""
    return status in {401, 403} or (status == 400 and "InvalidKeyException" in text)


def _address(interface: str) -> str:
    return f"{interface}_address=http://127.0.0.1:PORT {OWN}, or a private network"


HOST = "engine.host=127.0.0.1, or a private network"
REACH = (
    Check(
        "it answers",
        "make up",
        _engine_answers,
        comes_first=True,
        closes_external="start it, or correct engine.host and the ports of engine",
    ),
    Check("predictions without a key", TOKENS, _inference_key, closes_external=OWN_TOKENS),
    Check("Management API without a key", TOKENS, _management_key, closes_external=OWN_TOKENS),
    Check("Workflow API without a key", TOKENS, _workflow_key, closes_external=OWN_TOKENS),
    Check("Management API beyond this machine", HOST, _management_port, closes_external=_address("management")),
    Check("Inference API beyond this machine", HOST, _inference_port, closes_external=_address("inference")),
    Check(
        "gRPC Management API (CVE-2024-35199)",
        "engine.host=127.0.0.1; tokens on",
        _grpc_management,
        closes_external=f"grpc_management_address=127.0.0.1 {OWN}; tokens on",
    ),
    Check(
        "gRPC Inference API (CVE-2024-35199)",
        "engine.host=127.0.0.1; tokens on",
        _grpc_inference,
        closes_external=f"grpc_inference_address=127.0.0.1 {OWN}; tokens on",
    ),
    Check("metrics beyond this machine", HOST, _metrics_port, closes_external=_address("metrics")),
    Check(
        "pages of other sites",
        "no cors_allowed_origin in docker/config.properties",
        _cors,
        closes_external=f"no cors_allowed_origin {OWN}",
    ),
    Check(
        "ports that no setting names",
        "vmargs in docker/config.properties: no JMX, no debugger",
        _other_ports,
        closes_external=f"vmargs {OWN}: no JMX, no debugger; its other ports as engine.metrics_port, engine.grpc_...",
    ),
)

LONG = timedelta(days=1)
STRONG_BITS = 128
BITS_A_CHARACTER = 6  # the keys are URL-safe base64
NO_FILE = not_checked("a token in place of a key file")


def _readers(host: ExaminedHost) -> Result:
    if host.node.key_file is None:
        return NO_FILE
    return others_read(_key_path(host))


def _accepted(host: ExaminedHost) -> Result:
    if host.is_open:
        return not_checked("it requires no key")
    return closed("accepted") if host.engine.answers() else is_open("refused or missing: no rollout can work")


def _lifetime(host: ExaminedHost) -> Result:
    if host.node.key_file is None:
        return NO_FILE
    now = datetime.now(UTC)
    left = {kind: _expiry(host, kind) - now for kind in ("management", "inference")}
    longest = max(left.values())
    if longest > LONG:
        return warning(f"a key that leaks is good for {longest.days} days yet")
    return closed(", ".join(f"{kind}: {_time_left(span)}" for kind, span in left.items()))


def _strength(host: ExaminedHost) -> Result:
    bits = BITS_A_CHARACTER * min(len(each["key"]) for each in _keys(host).values())
    if bits >= STRONG_BITS:
        return closed(f"{bits} bits")
    urls = (host.node.management_url, host.node.inference_url)
    if all(host.deployment.sockets.is_shut(*host_and_port(url)) for url in urls):
        return closed(f"{bits} bits only, and only this machine can guess")
    return warning(f"{bits} bits, and no limit to guessing: keep its ports on a private network")


def _key_path(host: ExaminedHost) -> Path:
    return ROOT / (host.node.key_file or "")


def _keys(host: ExaminedHost) -> dict[str, Any]:
    if host.node.key_file is None:
        return {"token": {"key": host.node.token or ""}}
    content: dict[str, Any] = json.loads(_key_path(host).read_text())
    return content


def _expiry(host: ExaminedHost, kind: str) -> datetime:
    return datetime.fromisoformat(_keys(host)[kind]["expiration time"])


def _time_left(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min left" if minutes >= 0 else "expired, renewed at its next use"


KEYS = (
    Check("key file that others read", "chmod 700 on the folder of engine.key_file", _readers),
    Check(
        "keys that are not accepted",
        "make down && make up, if engine.key_file is an old copy",
        _accepted,
        closes_external="engine.key_file names the key_file.json that it wrote where it was started",
    ),
    Check(
        "keys that last",
        "engine.token_expiration_min=60",
        _lifetime,
        closes_external=f"token_expiration_min=60 {OWN}",
    ),
    Check(
        "keys that can be guessed",
        HOST,
        _strength,
        closes_external="all its addresses on 127.0.0.1, or a private network",
    ),
)

# Port 9 of the engine's own machine refuses connections, so a fetch that is allowed fails and registers nothing.
FOREIGN = ("http://127.0.0.1:9/{name}.{kind}", "https://127.0.0.1:9/{name}.{kind}", "file:///nowhere/{name}.{kind}")
NOT_ALLOWED = "does not match any allowed URL"
FIXED = (0, 11, 0)  # CVE-2023-43654 and -48299 are fixed since 0.9.0, CVE-2024-35198 and -35199 since 0.11.0


def _model_urls(host: ExaminedHost) -> Result:
    return _fetches(host, "/models", "mar")


def _workflow_urls(host: ExaminedHost) -> Result:
    if host.manage("GET", "/workflows").status_code == 404:
        return closed("there are no workflows")
    return _fetches(host, "/workflows", "war")


def _fetches(host: ExaminedHost, path: str, kind: str) -> Result:
    taken = []
    for form in FOREIGN:
        url = form.format(name=probes.UNUSED_NAME, kind=kind)
        answer = host.manage("POST", path, url=url)
        if answer.status_code == 405:
            return closed("nothing can be registered at all: the model API is off")
        if NOT_ALLOWED not in answer.text:
            taken.append(url.partition(":")[0])
    if taken:
        return is_open(f"it fetches from addresses outside the store ({', '.join(taken)})")
    return closed("http, https and file addresses outside the store are refused")


def _path_in_url(host: ExaminedHost) -> Result:
    match host.deployment.settings.store:
        case NginxStoreSettings() as store:
            place = f"{store.url}/files"
        case S3StoreSettings() as bucket:
            place = f"{bucket.endpoint}/{bucket.bucket}"
        case LocalStoreSettings():
            return closed("with store=local no address is allowed")
    answers = [
        host.manage("POST", "/models", url=f"{place}/{step}/{probes.UNUSED_NAME}.mar").text
        for step in ("..", "%2e%2e", "a")
    ]
    if all(NOT_ALLOWED in text or "Relative path" in text for text in answers):
        return closed("the store's address with another path behind it is refused")
    return is_open("an address of the store with a path behind it is fetched")


def _model_api(host: ExaminedHost) -> Result:
    answer = host.manage("POST", "/models", url=f"{probes.UNUSED_NAME}/../{probes.UNUSED_NAME}")
    if answer.status_code == 405:
        return warning("off: rollouts cannot work")
    if host.is_open:
        return is_open("on, and no key is required")
    return closed("on, as rollouts need it, and behind the key")


def _engine_version(host: ExaminedHost) -> Result:
    answer = host.manage("OPTIONS", "/")
    if not answer.ok:
        return not_checked("it does not report its version")
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", str(answer.json()["info"]["version"]))
    if found is None:
        return not_checked("it does not report its version")
    version = tuple(map(int, found.groups()))
    if version < FIXED:
        return is_open(f"{found[0]}: older than the release with the last fixes")
    return closed(f"{found[0]}; archived upstream, so no newer release will come")


def _yaml_library(host: ExaminedHost) -> Result:
    # SnakeYAML 2 refuses tags that name a class; this class decides which, and version 1 lacks it.
    safe = host.process.has_class("org/yaml/snakeyaml/inspector/TagInspector")
    if safe is None:
        return not_checked("its jar is not found on its command line")
    return closed("SnakeYAML 2 or newer in its jar") if safe else is_open("SnakeYAML 1 in its jar")


def _packages(host: ExaminedHost) -> Result:
    process = host.process
    if process.properties.get("install_py_dep_per_model", "false").lower() == "true":
        return is_open("it runs pip for the requirements of an archive")
    return closed("it runs no pip")


def _at_start(host: ExaminedHost) -> Result:
    process = host.process
    loaded = process.properties.get("load_models", "none")
    if loaded.lower() not in {"", "none"} or {"-m", "--models"} & set(process.command):
        return warning("it loads unchecked archives at its start")
    return closed("it starts empty")


def _store_writers(host: ExaminedHost) -> Result:
    if host.node.model_store is None:
        return not_checked("no setting names the folder of its fetched archives")
    return others_write(ROOT / host.node.model_store)


ALLOWED = "use_env_allowed_urls=true in docker/config.properties; TS_ALLOWED_URLS comes from store="
OWN_ALLOWED = f"allowed_urls {OWN}: the store alone"
VERSION = "torchserve==0.12.0 in requirements-worker.txt"
OWN_VERSION = "torchserve 0.12.0 where it is installed"
REGISTRATION = (
    Check("models from any address (CVE-2023-43654)", ALLOWED, _model_urls, closes_external=OWN_ALLOWED),
    Check("workflows from any address (CVE-2023-43654)", ALLOWED, _workflow_urls, closes_external=OWN_ALLOWED),
    Check("a bypass of allowed_urls (CVE-2024-35198)", ALLOWED, _path_in_url, closes_external=OWN_ALLOWED),
    Check(
        "model control",
        "enable_model_api=true with tokens on, in docker/config.properties",
        _model_api,
        closes_external=f"enable_model_api=true with tokens on, {OWN}",
    ),
    Check("paths in archives (CVE-2023-48299)", VERSION, _engine_version, closes_external=OWN_VERSION),
    Check("code in model-config.yaml (CVE-2022-1471)", VERSION, _yaml_library, closes_external=OWN_VERSION),
    Check(
        "packages out of archives",
        "install_py_dep_per_model=false in docker/config.properties",
        _packages,
        closes_external=f"install_py_dep_per_model=false {OWN}",
    ),
    Check(
        "archives loaded unchecked",
        "no load_models, no --models",
        _at_start,
        closes_external=f"no load_models {OWN}, no --models: the keeper brings back what was rolled out",
    ),
    Check("model store that others write", "chmod go-w on engine.model_store", _store_writers),
)

CHECKS = (*REACH, *KEYS, *REGISTRATION)
