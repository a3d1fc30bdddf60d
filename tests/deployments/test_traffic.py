"""The files that say which versions answer: what is written is read again, and damage is contained."""

import json
from pathlib import Path

from deployments.traffic import LiveVersions, TrafficFile, read_live, read_traffic
from tests.settings.splits import given_split


def test_live_versions_damaged_file_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "cartpole.json").write_text(json.dumps(["1.0", "1.1"]))
    (tmp_path / "digits.json").write_text('["1.')
    (tmp_path / "weather.json").write_text("7")
    assert read_live(tmp_path) == {"cartpole": frozenset({"1.0", "1.1"})}
    assert read_live(tmp_path / "absent") == {}


def test_live_versions_put_is_read_and_an_empty_list_removes_the_file(tmp_path: Path) -> None:
    live = LiveVersions(tmp_path / "live" / "cartpole.json")
    live.put({"1.1", "1.0"})
    assert live.get() == ["1.0", "1.1"]
    assert read_live(tmp_path / "live") == {"cartpole": frozenset({"1.0", "1.1"})}
    live.put([])
    assert live.get() == [] == list((tmp_path / "live").iterdir())


def test_traffic_file_clear_removes_one_model_only(tmp_path: Path) -> None:
    traffic = TrafficFile(tmp_path / "traffic.json")
    traffic.put("digits", given_split())
    traffic.put("cartpole", given_split("2.0"))
    assert traffic.clear("digits") is True
    assert traffic.clear("digits") is False
    assert {model: split.trial for model, split in read_traffic(tmp_path / "traffic.json").models.items()} == {
        "cartpole": "2.0"
    }
