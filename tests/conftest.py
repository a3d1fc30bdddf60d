"""Fixtures that every room's tests share."""

import signal

import pytest

# A runner in the background has Ctrl-C ignored and hands that on; what is tested must start as from a terminal.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio, so its tests do."""
    return "asyncio"
