"""Fixtures that every room's tests share."""

import signal
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# A runner in the background has Ctrl-C ignored and hands that on; what is tested must start as from a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio, so its tests do."""
    return "asyncio"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where several processes share the tests, a room stays in one of them: its stack is started once."""
    for item in items:
        room = item.path.relative_to(TESTS).parts[0]
        item.add_marker(pytest.mark.xdist_group(room))
