"""An engine whose keys stay as they are is never asked for others."""

import json
from pathlib import Path

import aiohttp
import pytest

from engines.torchserve.key_ring import KeyPlace, KeyRing

NOWHERE = "http://127.0.0.1:1"


def written(path: Path, key: str) -> Path:
    expired = {"key": key, "expiration time": "2020-01-01T00:00:00Z"}
    path.write_text(json.dumps({"management": expired, "inference": expired, "API": {"key": "a"}}))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "key_file.json", "old")


@pytest.mark.anyio
async def test_a_gateway_uses_them_and_reads_the_file_again_when_refused(file: Path) -> None:
    async with aiohttp.ClientSession() as session:
        ring = KeyRing(KeyPlace(file, NOWHERE, 60, renews=False), session)
        assert await ring.token("inference") == "old"
        assert not await ring.replaced("inference", "old")
        written(file, "new")
        assert await ring.replaced("inference", "old")
        assert await ring.token("inference") == "new"
        await ring.close()
