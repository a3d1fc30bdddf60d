"""The whole main job, once a session: trained, packed, served and uploaded by the very commands that a user types.

Two things differ from a user's run: ports are free ones, and state and archives lie in a temporary folder. With
MARINA_ENGINE=ray in the environment (`make test_ray`) everything runs on that engine; what is about TorchServe itself
is marked `torchserve` with its reason, and left out then.
"""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

import engines
from bench.local_stack import completed, free_ports
from demo import digits
from engines.engine_profile import EngineProfile
from engines.torchserve.auth import NAME as KEY_FILE
from settings import Settings, load
from settings.load import ROOT
from stack.local_services import listeners
from tests.polling import ended

PORTS = (
    "MARINA_GATEWAY_PORT",
    "MARINA_GATEWAY_GRPC_PORT",
    "MARINA_EDGE_PORT",
    "MARINA_FILES_PORT",
    "MARINA_INFERENCE_PORT",
    "MARINA_MANAGEMENT_PORT",
    "MARINA_METRICS_PORT",
    "MARINA_GRPC_INFERENCE_PORT",
    "MARINA_GRPC_MANAGEMENT_PORT",
    "MARINA_RAY_PORT",
)
ENGINE: EngineProfile = engines.profile(load())
"""What the tests run on."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leaves out what is about TorchServe itself where another engine is tested."""
    for item in items:
        found = item.get_closest_marker("torchserve")
        if found is not None and ENGINE.part != "torchserve":
            item.add_marker(pytest.mark.skip(reason=f"TorchServe only: {found.kwargs['reason']}"))


@dataclass(frozen=True)
class Stack:
    """A running stack and the environment that commands need to find it."""

    env: dict[str, str]

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.env['MARINA_GATEWAY_PORT']}"

    def predict_url(self, model: str) -> str:
        """The gateway's route of a model."""
        return f"{self.gateway}/models/{model}/predict"

    @property
    def files(self) -> str:
        return f"http://127.0.0.1:{self.env['MARINA_FILES_PORT']}"

    @property
    def state(self) -> Path:
        return Path(self.env["MARINA_STATE"])

    @property
    def archives(self) -> Path:
        return Path(self.env["MARINA_ARCHIVES"])

    @property
    def key_file(self) -> Path:
        """The engine's."""
        return self.state / ENGINE.part / KEY_FILE

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Settings that this process loads are the stack's as long as the patch holds."""
        for name, value in self.env.items():
            if name.startswith("MARINA_"):
                patch.setenv(name, value)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start one of the kit's programs."""
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=self.env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *arguments: str, status: int = 0, timeout_s: float = 300) -> str:
        """Run one of the kit's programs to its end and return what it printed."""
        done = completed(arguments, self.env, timeout_s=timeout_s)
        assert done.returncode == status, done.stdout
        return done.stdout


def unseen_digits() -> tuple[list[bytes], list[str]]:
    """PNGs of the digits that no training sees, and what they show."""
    _, unseen = digits.load_split()
    return [digits.png(image) for image in unseen.images], [str(label) for label in unseen.labels]


def new_stack(folder: Path, archives: Path) -> Stack:
    """A stack of its own ports and folders; nothing is started."""
    env = {**os.environ, **dict(zip(PORTS, map(str, free_ports(len(PORTS))), strict=True))}
    env |= {"MARINA_STATE": str(folder), "MARINA_ARCHIVES": str(archives), "MARINA_REPORTS": str(folder / "reports")}
    env |= {"MARINA_TUNED": "false"}  # what was tuned for this machine is no part of what is tested
    return Stack(env)


@pytest.fixture(scope="session")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two demo models, trained where they are not yet and packed."""
    folder = tmp_path_factory.mktemp("archives")
    stack = new_stack(folder, folder)
    stack.run("-m", "demo", "train", timeout_s=900)
    for model in ("digits", "cartpole"):
        stack.run("-m", "serialize", f"served_model={model}")
    return folder


@pytest.fixture(scope="session")
def stack(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Everything of the main job running, digits and cartpole uploaded; stopped at the end, and nothing left."""
    made = new_stack(tmp_path_factory.mktemp("state"), archives)
    try:
        made.run("-m", "stack", "up")
        for model in ("digits", "cartpole"):
            made.run("upload_model.py", f"served_model={model}")
        yield made
    finally:
        made.run("-m", "stack", "down")
    assert left_running(made) == []


@pytest.fixture
def settings(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """As the stack's own programs load them for cartpole."""
    stack.use(monkeypatch)
    return load(["served_model=cartpole"])


@pytest.fixture
def kept(stack: Stack) -> list[Path]:
    """The archives in the store before the test."""
    return sorted(stack.archives.iterdir())


def left_running(stack: Stack) -> list[psutil.Process]:
    """Processes that still belong to a stack, found by their environment, command line or open port."""
    owners = {pid for port, pid in listeners().items() if str(port) in {stack.env[name] for name in PORTS}}
    left = []
    for process in psutil.process_iter():
        try:
            marked = process.environ().get("MARINA_STACK") == str(stack.state)
            named = str(stack.state) in " ".join(process.cmdline())
        except psutil.Error:
            continue
        if (marked or named or process.pid in owners) and not ended(process):
            left.append(process)
    return left
