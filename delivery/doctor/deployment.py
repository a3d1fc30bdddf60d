"""The running deployment that the doctor examines: its engine hosts, their processes, its sockets and its records."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import requests

import engines
from delivery.doctor import probes
from delivery.doctor.sockets import Sockets, host_and_port
from deployments.serving import ServingRecord, VersionHistory
from engines.engine_profile import ModelVersion
from engines.torchserve import api
from engines.torchserve.engine_client import EngineClient
from errors import EngineError
from settings import Settings
from settings.schema import EngineHostSettings

MAIN = "org.pytorch.serve.ModelServer"
LOG_OPTION = "-Dlog4j.configurationFile="


@dataclass(frozen=True)
class EngineProcess:
    """A running TorchServe: its command line, and its properties as overridden by the environment."""

    pid: int
    command: tuple[str, ...]
    properties: Mapping[str, str]
    java: Path
    log_config: Path | None

    @property
    def java_version(self) -> str:
        """The version in the runtime's `release` file; "" when it has none."""
        release = self.java.parent.parent / "release"
        lines = release.read_text().splitlines() if release.is_file() else []
        return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("JAVA_VERSION=")), "")

    def has_class(self, name: str) -> bool | None:
        """Return True when its jar holds a class, e.g. `org/yaml/snakeyaml/Yaml`; None when no jar is found."""
        jar = next(iter(_jars(self.command)), None)
        if jar is None:
            return None
        with zipfile.ZipFile(jar) as opened:
            return f"{name}.class" in opened.namelist()


def find_engine_process(sockets: Sockets, management_url: str) -> EngineProcess:
    """Return the process behind a management port. Raises EngineError for another machine's or another user's."""
    host, port = host_and_port(management_url)
    if not sockets.is_here(host):
        raise EngineError(f"TorchServe runs on another machine ({host}); run the doctor there")
    pid = sockets.owner(port)
    if pid is None:
        raise EngineError(f"no process is visible on port {port}: none runs, or it belongs to another user")
    process = psutil.Process(pid)
    command = tuple(process.cmdline())
    if MAIN not in command:
        raise EngineError(f"port {port} belongs to {process.name()} (pid {pid}), which is not TorchServe")
    return EngineProcess(
        pid=pid,
        command=command,
        properties=properties(command, process.environ(), Path(process.cwd())),
        java=Path(process.exe()),
        log_config=next(
            (Path(urlsplit(word.removeprefix(LOG_OPTION)).path) for word in command if word.startswith(LOG_OPTION)),
            None,
        ),
    )


def properties(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return config.properties, overridden by TS_* variables where `enable_envvars_config` allows it."""
    named = _option(command, "-f")
    path = folder / named if named else None
    lines = path.read_text().splitlines() if path is not None and path.is_file() else []
    pairs = (line.partition("=") for line in lines if "=" in line and not line.lstrip().startswith("#"))
    found = {key.strip(): value.strip() for key, _, value in pairs}
    if found.get("enable_envvars_config") == "true":
        for name, value in environment.items():
            if name.startswith("TS_"):
                found[name.removeprefix("TS_").lower()] = value
    return found


def _option(command: Sequence[str], name: str) -> str | None:
    return next((value for option, value in pairwise(command) if option == name), None)


def _jars(command: Sequence[str]) -> list[Path]:
    """Return the model-server jars of the class path; `folder/*` there means every jar of that folder."""
    classes = (_option(command, "-cp") or "").split(":")
    folders = [Path(entry[:-1]) for entry in classes if entry.endswith("/*")]
    return [jar for folder in folders for jar in sorted(folder.glob("model-server*.jar"))]


@dataclass(frozen=True)
class Deployment:
    """The deployment of the settings, on the sockets of this machine."""

    settings: Settings
    sockets: Sockets

    @property
    def state(self) -> Path:
        """The stack's state folder."""
        return Path(self.settings.paths.state)

    @property
    def recorded(self) -> dict[str, VersionHistory]:
        """The versions that should serve, by model."""
        return ServingRecord.of(self.settings).all()

    @cached_property
    def hosts(self) -> tuple["ExaminedHost", ...]:
        """The engine hosts of the deployment."""
        return tuple(ExaminedHost(self, node) for node in self.settings.engine.hosts)


@dataclass(frozen=True)
class ExaminedHost:
    """One engine host; answers that several checks use are requested once."""

    deployment: Deployment
    node: EngineHostSettings

    @property
    def name(self) -> str:
        """The name of its part in the report."""
        return f"engine {self.node.name}" if self.deployment.settings.engine.nodes else "engine"

    @cached_property
    def process(self) -> EngineProcess:
        """Its process on this machine. Raises EngineError when it is not visible."""
        return find_engine_process(self.deployment.sockets, self.node.management_url)

    @cached_property
    def engine(self) -> EngineClient:
        """Its client, which has the keys."""
        return engines.connect(self.deployment.settings, self.node)

    @cached_property
    def is_open(self) -> bool:
        """True when its Management API answers without a key; raises when it does not answer at all."""
        return probes.plain("GET", f"{self.node.management_url}/models", params={"limit": "1"}).status_code == 200

    @cached_property
    def versions(self) -> tuple[ModelVersion, ...]:
        """Every registered version of every model."""
        return tuple(version for model in self.engine.models() for version in self.engine.versions(model))

    def manage(self, method: str, path: str, **params: str) -> requests.Response:
        """Send one management request, with the key where one is required."""
        headers = {} if self.is_open else {"Authorization": f"Bearer {self.key()}"}
        return probes.plain(method, f"{self.node.management_url}{path}", headers=headers, params=params)

    def infer(self, version: ModelVersion, body: bytes, headers: Mapping[str, str]) -> requests.Response:
        """Send one request to a version's workers."""
        url = self.node.inference_url + api.prediction_path(version.model, version.version)
        known = {} if self.is_open else {"Authorization": f"Bearer {self.engine.keys.token('inference')}"}
        return probes.plain("POST", url, headers={**headers, **known}, body=body)

    def key(self) -> str:
        """Return the management key, renewed when it has expired."""
        if not self.engine.answers():
            raise EngineError(f"TorchServe at {self.node.management_url} does not accept the keys")
        return self.engine.keys.token("management")

    def close(self) -> None:
        """Close the client's connections."""
        self.engine.close()
