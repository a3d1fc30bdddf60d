"""The nginx of the edge: its configuration, its reload, and the check of what it answers.

Its folder below the state folder holds nginx.conf, nginx.pid and serving.json, which names the policy that it serves.
"""

import base64
import json
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

import requests

import prometheus
from edge.compiler import check_configuration, nginx_program
from edge.verify import check_golden
from errors import EdgeError, MetricsError
from files import explained, replace_durably, write_atomic
from settings import Settings
from settings.load import ROOT

if TYPE_CHECKING:  # it loads torch, which a check for a running edge does not need
    from edge.nginx_module import NginxModule

TEMPLATE = ROOT / "docker" / "edge.conf"
MOST_IN_MEMORY = 256 * 1024
RELOAD_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class EdgeServer:
    """The nginx over one folder."""

    folder: Path

    @classmethod
    def of(cls, settings: Settings) -> "EdgeServer":
        """Return the server of this stack."""
        return cls(Path(settings.paths.state).absolute() / "edge")

    @property
    def configuration(self) -> Path:
        """The path of the rendered nginx.conf."""
        return self.folder / "nginx.conf"

    def master(self) -> int | None:
        """Return the process id of the running nginx; None when none runs."""
        try:
            pid = int((self.folder / "nginx.pid").read_text())
            os.kill(pid, 0)
        except (OSError, ValueError):
            return None
        return pid

    def serving(self) -> dict[str, str] | None:
        """Return the model and the version that it serves; None when it was never configured."""
        try:
            content: dict[str, str] = json.loads((self.folder / "serving.json").read_text())
        except (OSError, ValueError):
            return None
        return content if {"model", "version"} <= content.keys() else None

    def configure(self, module: "NginxModule", settings: Settings) -> None:
        """Render nginx.conf, and replace the old one once nginx has checked it.

        Raises EdgeError with nginx's reason when it does not load the new one.
        """
        text = Template(TEMPLATE.read_text()).safe_substitute(self._values(module.path, settings))
        candidate = self.folder / "nginx.conf.new"
        write_atomic(candidate, text)
        check_configuration(nginx_program(), candidate)
        with explained(self.configuration):
            replace_durably(candidate, self.configuration)
        serving = {"model": module.model, "version": module.version, "archive": module.archive.sha256}
        write_atomic(self.folder / "serving.json", json.dumps(serving, indent=2) + "\n")

    def reload(self, module: "NginxModule", settings: Settings) -> None:
        """Configure, reload, wait for the new version and check its golden answers. Raises EdgeError when one fails."""
        master = self.master()
        if master is None:
            raise EdgeError("no edge runs; `make edge` starts one")
        self.configure(module, settings)
        os.kill(master, signal.SIGHUP)
        deadline = time.monotonic() + RELOAD_TIMEOUT_S
        while (found := answering_version(settings)) != module.version:
            if time.monotonic() > deadline:
                late = f"the edge does not answer with {module.version} {RELOAD_TIMEOUT_S:g} s after its reload"
                raise EdgeError(f"{late}, but with {found}")
            time.sleep(0.05)
        check_golden_answers(module, settings)

    def _values(self, module: Path, settings: Settings) -> dict[str, str]:
        edge = settings.edge
        return {
            "MARINA_EDGE_ADDRESS": f"{edge.host}:{edge.port}",
            "MARINA_EDGE_WORKERS": str(edge.workers),
            "MARINA_EDGE_RUN": str(self.folder),
            "MARINA_EDGE_MODULE": f'load_module "{module}";',
            "MARINA_EDGE_BODY": str(edge.max_body_bytes),
            "MARINA_EDGE_BUFFER": str(min(edge.max_body_bytes, MOST_IN_MEMORY)),
            "MARINA_EDGE_TIMEOUT": str(edge.timeout_s),
            "MARINA_EDGE_ACCESS": f'"{self.folder}/access.log" access' if edge.access_log else "off",
        }


def answering_version(settings: Settings) -> str:
    """Return the version that answers a new connection, or the reason why it is not known yet.

    Raises EdgeError when it will never be known.
    """
    try:
        # Each request opens a new connection: a kept one would stay with an old worker.
        found = prometheus.read(f"{settings.edge.url}/metrics").gauges
    except MetricsError as error:
        if not error.passing:
            raise EdgeError(str(error)) from None
        return str(error)
    return next((labels["version"] for labels, _ in prometheus.samples(found, "marina_edge_info")), "no version")


def check_golden_answers(module: "NginxModule", settings: Settings) -> None:
    """Send the golden requests through nginx. Raises EdgeError for the first response that differs.

    For a moment after a reload, a new connection can still reach a worker of the old version. Its response says
    nothing about the new one, so the request is sent again.
    """
    golden = module.archive.golden
    deadline = time.monotonic() + RELOAD_TIMEOUT_S
    for number, sample in enumerate(golden["samples"], start=1):
        response = _send_golden(module, sample, settings)
        while response.status_code == 200 and response.json()["version"] != module.version:
            if time.monotonic() > deadline:
                raise EdgeError(f"golden input {number} is still answered by version {response.json()['version']}")
            time.sleep(0.05)
            response = _send_golden(module, sample, settings)
        check_golden(number, sample, response.status_code, response.content, golden["tolerance"])


def _send_golden(module: "NginxModule", sample: Any, settings: Settings) -> requests.Response:
    return requests.post(
        f"{settings.edge.url}/models/{module.model}/predict",
        data=base64.b64decode(sample["body"]),
        headers={"Content-Type": sample["content_type"], "Connection": "close"},
        timeout=10,
    )
