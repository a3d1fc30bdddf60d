"""The edge's folder below the state folder: its nginx.conf, and what it serves."""

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge.build import Built
from edge.programs import nginx_program
from errors import EdgeError
from settings import Settings
from settings.load import ROOT

TEMPLATE = ROOT / "docker" / "edge.conf"
MOST_IN_MEMORY = 256 * 1024


@dataclass(frozen=True)
class Site:
    """The files of one edge."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "Site":
        """The one of this stack."""
        return cls(Path(settings.paths.state).absolute() / "edge")

    @property
    def conf(self) -> Path:
        """The rendered configuration."""
        return self.folder / "nginx.conf"

    def write(self, built: Built, settings: Settings) -> None:
        """Render the configuration and have nginx check it before it takes the place of the one before.

        Raises EdgeError with nginx's reason when it does not load.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        candidate = self.folder / "nginx.conf.new"
        candidate.write_text(_render(TEMPLATE.read_text(), self._values(built, settings)))
        command = [nginx_program(), "-q", "-t", "-e", "stderr", "-p", str(self.folder), "-c", str(candidate)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EdgeError(f"nginx does not load the edge: {done.stderr.strip().splitlines()[0]}")
        served = {"model": built.model, "version": built.version, "archive": built.archive.sha256}
        candidate.replace(self.conf)
        (self.folder / "serving.json").write_text(json.dumps(served, indent=2) + "\n")

    def _values(self, built: Built, settings: Settings) -> dict[str, str]:
        edge = settings.edge
        log = f'"{self.folder}/access.log" access' if edge.access_log else "off"
        return {
            "MARINA_EDGE_ADDRESS": f"{edge.host}:{edge.port}",
            "MARINA_EDGE_WORKERS": str(edge.workers),
            "MARINA_EDGE_RUN": str(self.folder),
            "MARINA_EDGE_MODULE": str(built.module.absolute()),
            "MARINA_EDGE_BODY": str(edge.max_body_bytes),
            "MARINA_EDGE_BUFFER": str(min(edge.max_body_bytes, MOST_IN_MEMORY)),
            "MARINA_EDGE_TIMEOUT": str(edge.timeout_s),
            "MARINA_EDGE_ACCESS": log,
        }

    def master(self) -> int | None:
        """Process id of the running nginx; None when none runs."""
        try:
            pid = int((self.folder / "nginx.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid


def _render(template: str, values: dict[str, str]) -> str:
    """Replace `${NAME}` for the given names only; nginx's own variables stay."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
