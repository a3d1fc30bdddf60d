"""What TorchServe lets be registered, and what an archive may bring: tried with addresses at which nothing is."""

import re

from delivery.doctor import ask
from delivery.doctor.check import Check
from delivery.doctor.checks.files import others_write
from delivery.doctor.deployment import Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from settings.load import ROOT
from settings.schema import LocalStoreSettings, NginxStoreSettings, S3StoreSettings

# Port 9 of the engine's own machine: a fetch that is allowed ends there, refused, and nothing is registered.
FOREIGN = ("http://127.0.0.1:9/{name}.{kind}", "https://127.0.0.1:9/{name}.{kind}", "file:///nowhere/{name}.{kind}")
NOT_ALLOWED = "does not match any allowed URL"
FIXED = (0, 11, 0)  # CVE-2023-43654 and -48299 are mended from 0.9.0 on, CVE-2024-35198 and -35199 from 0.11.0 on


def _model_urls(host: Host) -> Seen:
    return _fetches(host, "/models", "mar")


def _workflow_urls(host: Host) -> Seen:
    if host.manage("GET", "/workflows").status_code == 404:
        return closed("there are no workflows")
    return _fetches(host, "/workflows", "war")


def _fetches(host: Host, path: str, kind: str) -> Seen:
    taken = []
    for form in FOREIGN:
        url = form.format(name=ask.NOBODY, kind=kind)
        answer = host.manage("POST", path, url=url)
        if answer.status_code == 405:
            return closed("nothing can be registered at all: the model API is off")
        if NOT_ALLOWED not in answer.text:
            taken.append(url.partition(":")[0])
    if taken:
        return is_open(f"it tries to fetch from addresses that are not the store's ({', '.join(taken)})")
    return closed("http, https and file addresses that are not the store's are refused")


def _path_in_url(host: Host) -> Seen:
    match host.deployment.settings.store:
        case NginxStoreSettings() as store:
            place = f"{store.url}/files"
        case S3StoreSettings() as bucket:
            place = f"{bucket.endpoint}/{bucket.bucket}"
        case LocalStoreSettings():
            return closed("with store=local no address is allowed")
    answers = [
        host.manage("POST", "/models", url=f"{place}/{step}/{ask.NOBODY}.mar").text for step in ("..", "%2e%2e", "a")
    ]
    if all(NOT_ALLOWED in text or "Relative path" in text for text in answers):
        return closed("the store's address with another path behind it is refused")
    return is_open("an address of the store with a path in it is fetched")


def _model_api(host: Host) -> Seen:
    answer = host.manage("POST", "/models", url=f"{ask.NOBODY}/../{ask.NOBODY}")
    if answer.status_code == 405:
        return warning("off: rollouts cannot work")
    if host.is_open:
        return is_open("on, and nobody is asked for a key")
    return closed("on, as rollouts need it, and behind the key")


def _version(host: Host) -> Seen:
    answer = host.manage("OPTIONS", "/")
    if not answer.ok:
        return not_checked("it does not tell its version")
    found = re.fullmatch(r"(\d+)\.(\d+)\.(\d+)", str(answer.json()["info"]["version"]))
    if found is None:
        return not_checked("it does not tell its version")
    version = tuple(map(int, found.groups()))
    if version < FIXED:
        return is_open(f"{found[0]}: older than the last fixes that there are")
    return closed(f"{found[0]}; archived upstream, so nothing newer comes")


def _yaml(host: Host) -> Seen:
    # SnakeYAML 2 refuses tags that name a class; this class of it decides which, and version 1 has none.
    safe = host.process.has_class("org/yaml/snakeyaml/inspector/TagInspector")
    if safe is None:
        return not_checked("its jar is not found on its command line")
    return closed("SnakeYAML 2 or newer in its jar") if safe else is_open("SnakeYAML 1 in its jar")


def _packages(host: Host) -> Seen:
    process = host.process
    if process.properties.get("install_py_dep_per_model", "false").lower() == "true":
        return is_open("it runs pip for what an archive asks for")
    return closed("it runs no pip")


def _at_start(host: Host) -> Seen:
    process = host.process
    loaded = process.properties.get("load_models", "none")
    if loaded.lower() not in {"", "none"} or {"-m", "--models"} & set(process.command):
        return warning("it loads archives at its start, which nobody has checked")
    return closed("it starts empty")


def _model_store(host: Host) -> Seen:
    if host.node.model_store is None:
        return not_checked("no setting says where it keeps what it fetched")
    return others_write(ROOT / host.node.model_store)


ALLOWED = "use_env_allowed_urls=true in docker/config.properties; TS_ALLOWED_URLS comes from store="
CHECKS = (
    Check("models from any address (CVE-2023-43654)", ALLOWED, _model_urls),
    Check("workflows from any address (CVE-2023-43654)", ALLOWED, _workflow_urls),
    Check("a way round allowed_urls (CVE-2024-35198)", ALLOWED, _path_in_url),
    Check("model control", "enable_model_api=true with tokens on, in docker/config.properties", _model_api),
    Check("paths in archives (CVE-2023-48299)", "torchserve==0.12.0 in requirements-engine.txt", _version),
    Check("code in model-config.yaml (CVE-2022-1471)", "torchserve==0.12.0 in requirements-engine.txt", _yaml),
    Check("packages out of archives", "install_py_dep_per_model=false in docker/config.properties", _packages),
    Check("archives loaded unchecked", "no load_models, no --models", _at_start),
    Check("model store that others write", "chmod go-w on engine.model_store", _model_store),
)
