"""TorchServe's keys are read as it writes them, never shown, and never renewed where an engine keeps them."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import requests

from engines.profiles import TORCHSERVE
from engines.torchserve import auth
from engines.torchserve.auth import KeyRing, read_keys
from errors import EngineError
from settings.schema import EngineHostSettings

CONTENT = {
    "management": {"key": "m-secret", "expiration time": "2026-11-21T07:59:52.067098701Z"},
    "inference": {"key": "i-secret", "expiration time": "2026-11-21T07:59:52Z"},
    "API": {"key": "a-secret"},
}
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "key_file.json"
    file.write_text(json.dumps(CONTENT))
    return file


def written(path: Path, key: str) -> Path:
    expired = {"key": key, "expiration time": "2020-01-01T00:00:00Z"}
    path.write_text(json.dumps({"management": expired, "inference": expired, "API": {"key": "a"}}))
    return path


def test_key_file_is_read_and_no_repr_shows_a_key(path: Path) -> None:
    found = read_keys(path, "TorchServe")
    tokens = (found.token("management").value, found.token("inference").value)
    assert (*tokens, found.api) == ("m-secret", "i-secret", "a-secret")
    assert found.token("management").expires == pytest.approx(1795247992.067099, abs=1e-5)
    assert "secret" not in repr(found)


def test_half_written_key_file_is_read_again(path: Path) -> None:
    path.write_text(json.dumps(CONTENT)[:40])
    rest = threading.Timer(0.2, lambda: path.write_text(json.dumps(CONTENT)))
    rest.start()
    assert read_keys(path, "TorchServe").api == "a-secret"
    rest.join()


def test_missing_key_file_error_says_how_to_start_torchserve(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is TorchServe running"):
        read_keys(tmp_path / "key_file.json", "TorchServe")


def test_other_file_is_refused_without_its_content(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "READ_TIMEOUT_S", 0.1)
    path.write_text('{"management": "m-secret"}')
    with pytest.raises(EngineError, match="is not a TorchServe key file") as caught:
        read_keys(path, "TorchServe")
    assert "secret" not in str(caught.value)


def test_empty_key_file_is_explained_by_the_room_on_its_disk(path: Path) -> None:
    path.write_text("")
    with pytest.raises(EngineError, match=r"is empty; its disk has [\d,]+ bytes free"):
        read_keys(path, "TorchServe")


def test_key_file_without_permission_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="cannot be read: Is a directory"):
        read_keys(tmp_path, "TorchServe")


def test_key_ring_without_renewal_rereads_the_file(path: Path) -> None:
    node = EngineHostSettings(
        name="a", inference_url=NOWHERE, management_url=NOWHERE, key_file=str(written(path, "old"))
    )
    ring = KeyRing(node, replace(TORCHSERVE, renews_keys=False), margin_s=60)
    assert ring.current("inference") is None
    assert ring.token("inference") == ring.current("inference") == "old"
    assert not ring.replace("inference", "old")
    written(path, "new")
    assert ring.token("inference") == "old"
    assert ring.replace("inference", "old")
    assert ring.token("inference") == "new"


def test_key_ring_fixed_token_is_never_replaced() -> None:
    node = EngineHostSettings(name="a", inference_url=NOWHERE, management_url=NOWHERE, token="t")
    ring = KeyRing(node, TORCHSERVE)
    assert ring.token("management") == ring.token("inference") == ring.current("inference") == "t"
    assert not ring.replace("inference", "t")
    assert ring.every_key() == {"t"}


def test_key_ring_failed_renewal_is_not_repeated_at_once(path: Path) -> None:
    now = 1000.0
    node = EngineHostSettings(name="a", inference_url=NOWHERE, management_url=NOWHERE, key_file=str(path))
    ring = KeyRing(node, TORCHSERVE, clock=lambda: now)
    asked: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(requests.Session, "get", lambda _, url, **__: refuse(asked, url))
        assert not ring.replace("inference", "i-secret")
        assert not ring.replace("inference", "i-secret")
        now += auth.RETRY_S
        assert not ring.replace("inference", "i-secret")
    assert asked == [f"{NOWHERE}/token?type=inference"] * 2


def refuse(asked: list[str], url: str) -> None:
    asked.append(url)
    raise requests.ConnectionError
