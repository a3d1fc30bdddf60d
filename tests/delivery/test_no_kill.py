"""A TorchServe that lacks the program `kill` cannot end a worker: delivery names the package."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import engines
from errors import EngineError
from settings import load
from tests.gateway.engine import POLICY, Engine


class WithoutKill(Engine):
    """TorchServe with Python's programs alone on its path."""

    def _environment(self) -> dict[str, str]:
        return {**super()._environment(), "PATH": str(Path(sys.executable).parent)}


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = WithoutKill(tmp_path)
    try:
        made.start()
        made.add("cartpole", POLICY)
        yield made
    finally:
        made.stop()


@pytest.mark.slow
def test_engine_without_kill_is_told_with_the_package(engine: Engine) -> None:
    with (
        engines.connect(load(engine.overrides)) as client,
        pytest.raises(EngineError, match=r"500: Interrupted while cleaning resources.*`kill`.*package procps"),
    ):
        client.unregister("cartpole", "1.0")
