"""`config/local/default.yaml` for an adopted deployment: its limits, and ports that its TorchServe leaves free."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from delivery.private_engine import PORTS
from delivery.running_torchserve import RunningTorchServe
from delivery.sockets import Sockets
from engines.torchserve.property_uses import taken_settings
from errors import ConfigError
from files import explained, write_once
from settings import Settings
from settings.load import CONFIG

FILE = Path("local") / "default.yaml"
HEAD = "# @package _global_\n"
STEP = 1000  # from a port that is taken to the one that is tried next
MIB = 1024 * 1024


@dataclass(frozen=True)
class MachineSettings:
    """Settings of this machine by their names, `engine.job_queue_size`, and the file that should hold them."""

    values: Mapping[str, int]
    path: Path

    def write(self, source: str) -> str | None:
        """Write the file; return what an existing one, which is kept, lacks; None when nothing is missing.

        Raises DiskError, and ConfigError for a file that is no YAML.
        """
        head = f"{HEAD}# `make adopt TORCHSERVE={source}` wrote this file.\n"
        if not self.values or write_once(self.path, head + _text(self.values), 0o644):
            return None
        present = self._present()
        missing = {name: value for name, value in self.values.items() if _found(present, name) is None}
        return _text(missing) if missing else None

    def _present(self) -> Any:
        with explained(self.path):
            try:
                return yaml.safe_load(self.path.read_text())
            except (yaml.YAMLError, UnicodeDecodeError):
                raise ConfigError(f"{self.path} is not YAML") from None


def machine_settings(running: RunningTorchServe, settings: Settings, *, config: Path = CONFIG) -> MachineSettings:
    """Return the settings that take values of the deployment, and those without which both could not run here."""
    values = taken_settings(running.properties)
    gateway = settings.gateway
    body = values.get("gateway.max_body_bytes", 0)
    if body > gateway.max_receiving_bytes:
        values["gateway.max_receiving_mb"] = -(-body // MIB)
    slowest = max((model.default.response_timeout or 0 for model in running.models), default=0) * 1000
    if slowest > gateway.deadline_ms:  # TorchServe's clients wait as long as a worker may take
        values["gateway.deadline_ms"] = slowest
    if slowest > gateway.max_deadline_ms:
        values["gateway.max_deadline_ms"] = slowest
    return MachineSettings({**dict(_free_ports(running, settings)), **values}, config / FILE)


def _free_ports(running: RunningTorchServe, settings: Settings) -> Iterator[tuple[str, int]]:
    """Yield another port for each one on which the running TorchServe listens, unless it is the engine itself."""
    if running.process is None or settings.engine.external:
        return
    sockets = Sockets.of_this_machine()
    for name in PORTS:
        port = getattr(settings.engine, name)
        if port is not None and sockets.owner(port) == running.process.pid:
            yield f"engine.{name}", next(free for free in range(port + STEP, 65536, STEP) if not sockets.on(free))


def _text(values: Mapping[str, int]) -> str:
    nested: dict[str, dict[str, int]] = {}
    for name, value in values.items():
        group, _, key = name.partition(".")
        nested.setdefault(group, {})[key] = value
    return yaml.safe_dump(nested, sort_keys=False)


def _found(content: Any, name: str) -> Any:
    group, _, key = name.partition(".")
    section = content.get(group) if isinstance(content, dict) else None
    return section.get(key) if isinstance(section, dict) else None
