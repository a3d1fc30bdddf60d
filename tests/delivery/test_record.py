"""The record of what serves survives a restart, is replaced whole, and says so when it is damaged."""

from pathlib import Path

import pytest

from delivery.record import History, Record, Served
from errors import StoreError

FIRST = Served("1.0", "digits-1.0.mar", batch_size=4, max_batch_delay=5, initial_workers=1)
SECOND = Served("1.1", "digits-1.1.mar", batch_size=8, max_batch_delay=0, initial_workers=2)


def test_what_was_put_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "state" / "serving.json"
    assert Record(path).all() == {}
    Record(path).put("digits", History(SECOND, (FIRST,)))
    Record(path).put("cartpole", History(FIRST))
    assert Record(path).all() == {"digits": History(SECOND, (FIRST,)), "cartpole": History(FIRST)}
    assert [file.name for file in path.parent.iterdir()] == ["serving.json"]


@pytest.mark.parametrize(
    "content", ["", "[", "[]", '{"digits": []}', '{"digits": {}}', '{"digits": {"serving": {"version": 1}}}']
)
def test_a_damaged_record_is_refused_with_the_way_out(tmp_path: Path, content: str) -> None:
    path = tmp_path / "serving.json"
    path.write_text(content)
    with pytest.raises(StoreError, match="damaged; delete it and run"):
        Record(path).all()
