"""What a running TorchServe serves, whoever started it; reading it changes nothing there.

Management API ──▶ models, versions, workers, batch settings, timeouts, workflows
its process    ──▶ config.properties, model store, key file; where it runs on this machine
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from delivery.engine_process import EngineProcess, find_engine_process
from delivery.sockets import Sockets, host_and_port
from engines.engine_profile import ModelVersion
from engines.profiles import TORCHSERVE
from engines.torchserve.api import renewal_path
from engines.torchserve.auth import NAME as KEY_FILE
from engines.torchserve.config_properties import read_properties
from engines.torchserve.engine_client import EngineClient, EngineKeyRefused
from errors import ConfigError, EngineError
from files import explained
from settings import Settings
from settings.schema import EngineHostSettings

ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+")
ANSWER_S = 10.0
MANAGEMENT = "management_address"
OTHER_PORTS = {"inference_address": "http://127.0.0.1:8080", "metrics_address": "http://127.0.0.1:8082"}
DEFAULT_MANAGEMENT = "http://127.0.0.1:8081"
READING = replace(TORCHSERVE, renews_keys=False)  # a renewal would end the token of other clients


@dataclass(frozen=True)
class ServedModel:
    """A registered model: the version that answers requests without a version, and the others."""

    default: ModelVersion
    others: tuple[ModelVersion, ...]

    @property
    def name(self) -> str:
        """The name in its clients' URLs."""
        return self.default.model


@dataclass(frozen=True)
class RunningTorchServe:
    """A TorchServe as its Management API describes it, with its properties as far as they can be read from here.

    `process` is None where it runs on another machine, in a container, or as another user.
    """

    url: str
    models: tuple[ServedModel, ...]
    workflows: tuple[str, ...]
    properties: Mapping[str, str]
    properties_source: str
    model_store: Path | None
    process: EngineProcess | None


def read_running(
    url: str,
    settings: Settings,
    *,
    key_file: Path | None = None,
    model_store: Path | None = None,
    config: Path | None = None,
) -> RunningTorchServe:
    """Read the TorchServe whose Management API is at `url`.

    The key file, the model store and config.properties are found by its process, unless they are given. Raises
    ConfigError and EngineError.
    """
    url = url.rstrip("/")
    if not ADDRESS.fullmatch(url):
        raise ConfigError(f"{url!r} is no address like http://127.0.0.1:8081, that of a TorchServe's Management API")
    if key_file is not None and not key_file.is_file():
        raise ConfigError(f"{key_file} does not exist: KEY_FILE= names TorchServe's {KEY_FILE}")
    if model_store is not None and not model_store.is_dir():
        raise ConfigError(f"{model_store} is no folder: MODEL_STORE= names TorchServe's model store")
    process = _process(url)
    if process is not None:
        _check_port(url, process)
    if key_file is None and process is not None and (process.folder / KEY_FILE).is_file():
        key_file = process.folder / KEY_FILE
    models, workflows = _described(url, settings, key_file)
    properties, source = _properties(process, config)
    if model_store is None and (named := properties.get("model_store")):
        model_store = (process.folder if process else Path.cwd()) / named
    return RunningTorchServe(url, models, workflows, properties, source, model_store, process)


def _process(url: str) -> EngineProcess | None:
    try:
        return find_engine_process(Sockets.of_this_machine(), url)
    except (EngineError, psutil.Error, OSError):  # on another machine, in a container, of another user
        return None


def _check_port(url: str, process: EngineProcess) -> None:
    """Raise ConfigError for the address of another interface of the same TorchServe."""
    management = process.properties.get(MANAGEMENT, DEFAULT_MANAGEMENT)
    others = {host_and_port(process.properties.get(name, default))[1] for name, default in OTHER_PORTS.items()}
    port = host_and_port(url)[1]
    if port in others and port != host_and_port(management)[1]:
        raise ConfigError(f"{url} is not TorchServe's Management API, which is at {management}")


def _described(url: str, settings: Settings, key_file: Path | None) -> tuple[tuple[ServedModel, ...], tuple[str, ...]]:
    engine = settings.engine.model_copy(update={"external": True, "nodes": []})
    host = EngineHostSettings(
        name="torchserve",
        inference_url=settings.engine.inference_url,
        management_url=url,
        key_file=str((key_file or Path(KEY_FILE)).absolute()),
    )
    try:
        with EngineClient(engine, host, READING, ANSWER_S) as client:
            found = tuple(model for name in client.models() if (model := _served(client, name)) is not None)
            return found, tuple(client.workflows())
    except EngineKeyRefused:
        raise EngineError(_key_words(url, key_file)) from None
    except (LookupError, TypeError, ValueError, AttributeError):
        raise EngineError(f"{url} does not answer as TorchServe's Management API does; is it that port?") from None


def _served(client: EngineClient, name: str) -> ServedModel | None:
    """Return one model; None when it was removed meanwhile."""
    default = client.default(name)
    if default is None:
        return None
    others = tuple(found for found in client.versions(name) if found.version != default.version)
    return ServedModel(default, others)


def _key_words(url: str, key_file: Path | None) -> str:
    if key_file is None:
        return f"TorchServe at {url} wants a token; KEY_FILE= names its {KEY_FILE}, in the folder where it was started"
    renewal = f'curl -H "Authorization: Bearer KEY" "{url}{renewal_path("management")}"'
    return (
        f"TorchServe at {url} does not accept the management token in {key_file}, which may have expired;"
        f" renew it with the key of API there: {renewal}"
    )


def _properties(process: EngineProcess | None, config: Path | None) -> tuple[Mapping[str, str], str]:
    if config is not None:
        with explained(config):
            return read_properties(config), str(config)
    if process is None:
        return {}, "not readable here; CONFIG= names a copy of config.properties"
    return process.properties, str(process.properties_file or "none; its command line")
