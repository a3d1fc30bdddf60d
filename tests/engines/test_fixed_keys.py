"""An engine whose keys stay as they are is never asked for others."""

import json
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from engines.torchserve import keys
from engines.torchserve.engine import FACTS
from engines.torchserve.key_ring import KeyPlace, KeyRing
from settings.schema import Node

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


def test_delivery_does_so_too(file: Path) -> None:
    node = Node(name="a", inference_url=NOWHERE, management_url=NOWHERE, key_file=str(file))
    assert keys.token(node, "inference", "TorchServe") == "old"
    assert keys.renewed(node, "inference", replace(FACTS, renews_keys=False)) == "old"


def test_one_token_in_place_of_a_file_is_for_everything() -> None:
    node = Node(name="a", inference_url=NOWHERE, management_url=NOWHERE, token="t")
    assert keys.token(node, "management", "TorchServe") == keys.renewed(node, "inference", FACTS) == "t"
