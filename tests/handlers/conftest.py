"""Workers with tiny models."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.handlers import archives
from tests.handlers.worker import Worker

Load = Callable[..., Worker]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Load an unpacked archive as a worker does: its folder is on the path, its entry a module of its own."""
    entries = []

    def load_archive(folder: Path, entry: str = "vision_handler.py", batch_size: int = 4) -> Worker:
        monkeypatch.syspath_prepend(str(folder))
        sys.modules.pop(Path(entry).stem, None)
        entries.append(Path(entry).stem)
        return Worker(folder, entry, batch_size)

    yield load_archive
    for entry in entries:
        sys.modules.pop(entry, None)


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """A worker owns its process and sets the levels of all its loggers; here it is a guest."""
    loggers = [logging.getLogger(), logging.getLogger("ts.metrics")]
    before = [logger.level for logger in loggers]
    yield
    for logger, level in zip(loggers, before, strict=True):
        logger.setLevel(level)


@pytest.fixture(scope="session")
def vision_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archives.vision(tmp_path_factory.mktemp("archive") / "colours")


@pytest.fixture(scope="session")
def policy_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return archives.policy(tmp_path_factory.mktemp("archive") / "steering")


@pytest.fixture
def vision(load: Load, vision_archive: Path) -> Worker:
    return load(vision_archive)


@pytest.fixture
def policy(load: Load, policy_archive: Path) -> Worker:
    return load(policy_archive, "policy_handler.py")


@pytest.fixture
def vision_with(load: Load, tmp_path: Path) -> Callable[..., Worker]:
    """A worker whose card has some keys changed."""

    def build(golden: dict[str, Any] | None = None, **changes: Any) -> Worker:
        return load(archives.vision(tmp_path / "archive", archives.vision_card(**changes), golden))

    return build


@pytest.fixture
def policy_with(load: Load, tmp_path: Path) -> Callable[..., Worker]:
    """A worker whose card has some keys changed."""

    def build(golden: dict[str, Any] | None = None, logarithm: bool = False, **changes: Any) -> Worker:
        card = archives.policy_card(**changes)
        return load(archives.policy(tmp_path / "archive", card, golden, logarithm), "policy_handler.py")

    return build
