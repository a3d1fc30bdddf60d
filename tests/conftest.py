"""Fixtures that every room's tests share."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The gateway runs on asyncio, so its tests do."""
    return "asyncio"
