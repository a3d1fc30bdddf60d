"""The record of what serves survives a restart, is replaced whole, and says so when it is damaged."""

from pathlib import Path

import pytest

from deployments.serving import DeployedVersion, ServingRecord, VersionHistory
from errors import StoreError

FIRST = DeployedVersion("1.0", "digits-1.0.mar", batch_size=4, max_batch_delay=5, initial_workers=1)
SECOND = DeployedVersion("1.1", "digits-1.1.mar", batch_size=8, max_batch_delay=0, initial_workers=2)


def test_what_was_put_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "serving.json"
    assert ServingRecord(path).all() == {}
    ServingRecord(path).put("digits", VersionHistory(SECOND, (FIRST,)))
    ServingRecord(path).put("cartpole", VersionHistory(FIRST))
    assert ServingRecord(path).all() == {"digits": VersionHistory(SECOND, (FIRST,)), "cartpole": VersionHistory(FIRST)}
    assert [file.name for file in path.parent.iterdir()] == ["serving.json"]


@pytest.mark.parametrize(
    "content", ["", "[", "[]", '{"digits": []}', '{"digits": {}}', '{"digits": {"serving": {"version": 1}}}']
)
def test_a_damaged_record_is_refused_with_the_way_out(tmp_path: Path, content: str) -> None:
    path = tmp_path / "serving.json"
    path.write_text(content)
    with pytest.raises(StoreError, match="damaged; delete it and run"):
        ServingRecord(path).all()
