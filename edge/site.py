"""The edge's folder below the state folder: its nginx.conf, and what it serves."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge import conf_lines
from edge.build import Built
from edge.lua_source import RUNTIME
from edge.programs import nginx_program
from errors import EdgeError
from files import replace_durably, staging_folder, write_atomic
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

    @property
    def policy(self) -> Path:
        """The file that tells workers in Lua which policy to serve; they look at it all the time."""
        return self.folder / "policy"

    def write(self, built: Built, settings: Settings) -> bool:
        """Render the configuration and have nginx check it before it takes the place of the one before.

        Returns whether a running nginx must be reloaded: not where only another policy in Lua is to be served, which
        its workers see by themselves. Raises EdgeError with nginx's reason when the configuration does not load.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        candidate, text = (
            self.folder / "nginx.conf.new",
            conf_lines.render(TEMPLATE.read_text(), self._values(built, settings)),
        )
        same = self.conf.is_file() and self.conf.read_text() == text
        candidate.write_text(text)
        command = [nginx_program(), "-q", "-t", "-e", "stderr", "-p", str(self.folder), "-c", str(candidate)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EdgeError(f"nginx does not load the edge: {done.stderr.strip().splitlines()[0]}")
        served = {"model": built.model, "version": built.version, "archive": built.archive.sha256}
        if built.kind == "lua":
            name_policy(self.policy, str(built.path.absolute()))
        replace_durably(candidate, self.conf)
        write_atomic(self.folder / "serving.json", json.dumps(served, indent=2) + "\n")
        return built.kind == "compiled" or not same

    def _values(self, built: Built, settings: Settings) -> dict[str, str]:
        edge = settings.edge
        log = f'"{self.folder}/access.log" access' if edge.access_log else "off"
        return {
            "MARINA_EDGE_ADDRESS": f"{edge.host}:{edge.port}",
            "MARINA_EDGE_WORKERS": str(edge.workers),
            "MARINA_EDGE_RUN": str(self.folder),
            "MARINA_EDGE_BODY": str(edge.max_body_bytes),
            "MARINA_EDGE_BUFFER": str(min(edge.max_body_bytes, MOST_IN_MEMORY)),
            "MARINA_EDGE_TIMEOUT": str(edge.timeout_s),
            "MARINA_EDGE_ACCESS": log,
            **self._answering(built, edge.max_body_bytes),
        }

    def _answering(self, built: Built, max_body: int) -> dict[str, str]:
        if built.kind == "compiled":
            return conf_lines.compiled(built.path.absolute(), max_body)
        return conf_lines.scripted(conf_lines.lua_modules(nginx_program()), RUNTIME, self.policy, max_body)

    def master(self) -> int | None:
        """Process id of the running nginx; None when none runs."""
        try:
            pid = int((self.folder / "nginx.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid


def name_policy(file: Path, folder: str) -> None:
    """Have the workers that look at `file` serve the policy in `folder`; never half a name."""
    with staging_folder(file.parent, file.name) as work:
        (work / file.name).write_text(f"{folder}\n")
        replace_durably(work / file.name, file)
