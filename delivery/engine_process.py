"""A TorchServe process on this machine, whoever started it: its command line, folder, environment and properties."""

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from delivery.sockets import Sockets, host_and_port
from engines.torchserve.config_properties import read_properties, resolved
from errors import EngineError

MAIN = "org.pytorch.serve.ModelServer"
LOG_OPTION = "-Dlog4j.configurationFile="
OPTIONS = {"-s": "model_store", "--model-store": "model_store", "-w": "workflow_store"}
FLAGS = {"--disable-token-auth": "disable_token_authorization", "--enable-model-api": "enable_model_api"}
DEFAULT_FILE = "config.properties"  # of the folder where it was started
SNAPSHOTS = Path("logs") / "config"  # from the last of which it starts without options


@dataclass(frozen=True)
class EngineProcess:
    """A running TorchServe. `properties` are those in effect, and `properties_file` is where most of them come from."""

    pid: int
    command: tuple[str, ...]
    folder: Path
    properties: Mapping[str, str]
    properties_file: Path | None
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
    folder = Path(process.cwd())
    return EngineProcess(
        pid=pid,
        command=command,
        folder=folder,
        properties=properties(command, process.environ(), folder),
        properties_file=properties_file(command, folder),
        java=Path(process.exe()),
        log_config=next(
            (Path(urlsplit(word.removeprefix(LOG_OPTION)).path) for word in command if word.startswith(LOG_OPTION)),
            None,
        ),
    )


def properties(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return config.properties, overridden by the command line, and by TS_* variables where it allows that."""
    path = properties_file(command, folder)
    found = {} if path is None else resolved(read_properties(path), environment)
    found |= dict(_options(command))
    if found.get("enable_envvars_config") == "true":
        for name, value in environment.items():
            if name.startswith("TS_"):
                found[name.removeprefix("TS_").lower()] = value
    return found


def properties_file(command: Sequence[str], folder: Path) -> Path | None:
    """Return the file from which a TorchServe that was started in `folder` has its properties; None without one."""
    named = _option(command, "-f")
    if named is not None:
        candidates = [folder / named]
    else:
        snapshots = [] if "-ncs" in command else list((folder / SNAPSHOTS).glob("*.cfg"))
        latest = sorted(snapshots, key=lambda path: path.stat().st_mtime)[-1:]
        candidates = [*latest, folder / DEFAULT_FILE]
    return next((path for path in candidates if path.is_file()), None)


def _options(command: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the properties that the command line overrides."""
    for word, value in pairwise(command):
        if word in OPTIONS:
            yield OPTIONS[word], value
        if word in {"-m", "--models"}:
            after = command[command.index(word) + 1 :]
            end = next((at for at, each in enumerate(after) if each.startswith("-")), len(after))
            yield "load_models", ",".join(after[:end])
    yield from ((FLAGS[word], "true") for word in command if word in FLAGS)


def _option(command: Sequence[str], name: str) -> str | None:
    return next((value for option, value in pairwise(command) if option == name), None)


def _jars(command: Sequence[str]) -> list[Path]:
    """Return the model-server jars of the class path; `folder/*` there means every jar of that folder."""
    classes = (_option(command, "-cp") or "").split(":")
    folders = [Path(entry[:-1]) for entry in classes if entry.endswith("/*")]
    return [jar for folder in folders for jar in sorted(folder.glob("model-server*.jar"))]
