"""TorchServe's own process, where it runs on this machine under this user: what it was really started with."""

import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from delivery.doctor.sockets import Sockets, place
from errors import EngineError

MAIN = "org.pytorch.serve.ModelServer"
LOG_OPTION = "-Dlog4j.configurationFile="


@dataclass(frozen=True)
class EngineProcess:
    """A running TorchServe: its command line, and its properties as the environment has overridden them."""

    pid: int
    command: tuple[str, ...]
    properties: Mapping[str, str]
    java: Path
    log_config: Path | None

    @property
    def java_version(self) -> str:
        """As the runtime's own `release` file says; "" when it has none."""
        release = self.java.parent.parent / "release"
        lines = release.read_text().splitlines() if release.is_file() else []
        return next((line.partition("=")[2].strip('"') for line in lines if line.startswith("JAVA_VERSION=")), "")

    def has_class(self, name: str) -> bool | None:
        """Whether its jar holds a class, e.g. `org/yaml/snakeyaml/Yaml`; None when no jar is found."""
        jar = next(iter(_jars(self.command)), None)
        if jar is None:
            return None
        with zipfile.ZipFile(jar) as opened:
            return f"{name}.class" in opened.namelist()


def find(sockets: Sockets, management_url: str) -> EngineProcess:
    """The process behind a management port. Raises EngineError when it is not this machine's, or another user's."""
    host, port = place(management_url)
    if not sockets.is_here(host):
        raise EngineError(f"TorchServe runs on another machine ({host}); run the doctor there")
    pid = sockets.owner(port)
    if pid is None:
        raise EngineError(f"the process on port {port} is not to be seen: none, or another user's")
    process = psutil.Process(pid)
    command = tuple(process.cmdline())
    if MAIN not in command:
        raise EngineError(f"port {port} belongs to {process.name()} (pid {pid}), which is no TorchServe")
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
    """config.properties, and above it TS_* where `enable_envvars_config` lets them."""
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
    """model-server.jar on its class path; `folder/*` there means every jar of that folder."""
    classes = (_option(command, "-cp") or "").split(":")
    folders = [Path(entry[:-1]) for entry in classes if entry.endswith("/*")]
    return [jar for folder in folders for jar in sorted(folder.glob("model-server*.jar"))]
