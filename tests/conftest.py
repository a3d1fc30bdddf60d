"""Fixtures that every room's tests share."""

import signal
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

# A runner in the background has Ctrl-C ignored and hands that on; what is tested must start as from a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio, so its tests do."""
    return "asyncio"


class RoomScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist has no type hints
    """Where several processes share the tests, a room stays in one of them: its stack is started once."""

    def _split_scope(self, nodeid: str) -> str:
        return "/".join(nodeid.split("/")[:2])


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> RoomScheduling:
    """Rooms in the order of their names: the longest, e2e, begins while all the others are still to come."""
    config.option.loadscopereorder = False
    return RoomScheduling(config, log)
