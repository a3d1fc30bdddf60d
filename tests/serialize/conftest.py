"""Settings and sources that the tests of this room share."""

from collections.abc import Callable
from pathlib import Path

import pytest

import settings
from settings import Settings

Compose = Callable[..., Settings]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """Settings whose archives and weights lie in the test's own folder."""

    def composed(name: str, *overrides: str) -> Settings:
        paths = [f"paths.archives={tmp_path / 'archives'}", f"paths.weights={tmp_path / 'weights'}"]
        return settings.load([f"served_model={name}", *paths, *overrides])

    return composed
