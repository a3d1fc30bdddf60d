"""Debian's Prometheus over docker/prometheus/, with the hosts of this machine and a turn each second."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests
import yaml

from settings.load import ROOT
from tests.ports import free_port

PROMETHEUS = shutil.which("prometheus")
FOLDER = ROOT / "docker" / "prometheus"


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    url: str

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query. An expression that it does not take is an error."""
        answer = requests.get(f"{self.url}/api/v1/query", params={"query": expression}, timeout=30)
        assert answer.status_code == 200, (expression, answer.text)
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    def rules(self) -> dict[str, str]:
        """Health of each rule by its name."""
        groups = requests.get(f"{self.url}/api/v1/rules", timeout=30).json()["data"]["groups"]
        return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


@contextlib.contextmanager
def prometheus(folder: Path, ports: Mapping[str, str]) -> Iterator[Prometheus]:
    """Prometheus with its data below `folder`; `ports` are those of the jobs."""
    address = f"127.0.0.1:{free_port()}"
    written = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    written["global"] = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    written["rule_files"] = [str(FOLDER / Path(name).name) for name in written["rule_files"]]
    for job in written["scrape_configs"]:
        for other in ("authorization", "dns_sd_configs"):
            job.pop(other, None)
        here = address if job["job_name"] == "prometheus" else f"127.0.0.1:{ports[job['job_name']]}"
        job["static_configs"] = [{"targets": [here]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(written))
    options = ("--config.file=prometheus.yml", "--storage.tsdb.path=data", f"--web.listen-address={address}")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen([str(PROMETHEUS), *options], cwd=folder, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not _ready(address):
            assert server.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield Prometheus(f"http://{address}")
    finally:
        server.terminate()
        server.wait(30)


def _ready(address: str) -> bool:
    try:
        return requests.get(f"http://{address}/-/ready", timeout=2).status_code == 200
    except requests.RequestException:
        return False
