"""The journal of a rollout survives a kill whole, and a second rollout of the same model waits for the first."""

import threading
from pathlib import Path

import pytest

from delivery.journal import Journal, JournalEntry, Step, rollout_lock
from deployments.serving import DeployedVersion
from errors import StoreError
from settings import load

SERVED = DeployedVersion("1.1", "digits-1.1.mar", batch_size=8, max_batch_delay=0, initial_workers=2)
ENTRY = JournalEntry("digits", Step.GOLDEN, SERVED, "1.0", (SERVED,), published=True)


def test_journal_write_read_close(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "digits")
    assert journal.read() is None
    journal.write(ENTRY)
    journal.write(ENTRY.at(Step.TAKE_BACK))
    assert journal.read() == ENTRY.at(Step.TAKE_BACK)
    assert Journal(tmp_path, "cartpole").read() is None
    assert [file.name for file in tmp_path.iterdir()] == ["digits.json"]
    journal.close()
    journal.close()
    assert journal.read() is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": "digits", "step": "nothing"}'])
def test_journal_damaged_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "digits.json").write_text(content)
    with pytest.raises(StoreError, match=r"digits\.json is damaged; delete it"):
        Journal(tmp_path, "digits").read()


def test_rollout_lock_second_rollout_of_a_model_waits(tmp_path: Path) -> None:
    settings = load([f"paths.state={tmp_path}"])
    order: list[str] = []

    def second() -> None:
        with rollout_lock("digits", settings):
            order.append("second")

    waiting = threading.Thread(target=second)
    with rollout_lock("digits", settings):
        waiting.start()
        with rollout_lock("cartpole", settings):
            order.append("other model")
        waiting.join(0.2)
        assert waiting.is_alive()
        order.append("first")
    waiting.join()
    assert order == ["other model", "first", "second"]
