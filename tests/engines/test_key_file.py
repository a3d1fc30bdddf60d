"""TorchServe's keys are read as it writes them, and never shown."""

import json
import threading
from pathlib import Path

import pytest

from engines.torchserve import keys
from errors import EngineError

CONTENT = {
    "management": {"key": "m-secret", "expiration time": "2030-01-01T00:00:00Z"},
    "inference": {"key": "i-secret", "expiration time": "2030-01-01T00:00:00Z"},
    "API": {"key": "a-secret"},
}


def test_the_three_keys_are_read_and_kept_out_of_every_repr(tmp_path: Path) -> None:
    path = tmp_path / "key_file.json"
    path.write_text(json.dumps(CONTENT))
    found = keys.read(path, "TorchServe")
    tokens = (found.token("management").value, found.token("inference").value)
    assert (*tokens, found.api) == ("m-secret", "i-secret", "a-secret")
    assert "secret" not in repr(found)


def test_a_half_written_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "key_file.json"
    path.write_text(json.dumps(CONTENT)[:40])
    rest = threading.Timer(0.2, lambda: path.write_text(json.dumps(CONTENT)))
    rest.start()
    assert keys.read(path, "TorchServe").api == "a-secret"
    rest.join()


def test_no_file_says_how_to_start_torchserve(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="is TorchServe running"):
        keys.read(tmp_path / "key_file.json", "TorchServe")


def test_another_file_is_refused_without_its_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "READ_TIMEOUT_S", 0.1)
    path = tmp_path / "key_file.json"
    path.write_text('{"management": "m-secret"}')
    with pytest.raises(EngineError, match="is not a TorchServe key file") as caught:
        keys.read(path, "TorchServe")
    assert "secret" not in str(caught.value)
