"""Servers as processes, and the check of their answers."""

import sys
from pathlib import Path

import pytest

from bench import targets
from bench.server_process import MeasurementError, WrongAnswer, serving
from tests.polling import ended

# A server that ignores SIGTERM and has started a helper in a session of its own, which does so as well.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    helper = subprocess.Popen([sys.executable, __file__, "helper"], start_new_session=True)
    print(helper.pid, flush=True)
time.sleep(600)
"""


def test_serving_every_process_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.server_process.STOP_S", 1.0)
    program = tmp_path / "stubborn.py"
    program.write_text(STUBBORN)
    with serving([sys.executable, str(program)], {}, tmp_path / "folder") as server:
        server.wait(lambda: server.last_words().isdigit() and len(server.processes()) == 2, 30)
        started = server.processes()
        assert int(server.last_words()) in [process.pid for process in started]
        assert server.memory_mb() > 1
    assert all(map(ended, started))


def test_wait_ended_server_fails_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with serving(command, {}, tmp_path) as server, pytest.raises(MeasurementError, match="it ended: no such model"):
        server.wait(lambda: False, 60)


def test_wait_hanging_server_fails_in_time(tmp_path: Path) -> None:
    with (
        serving(["sleep", "600"], {}, tmp_path) as server,
        pytest.raises(MeasurementError, match="no right answer within 1 s: it said nothing"),
    ):
        server.wait(lambda: False, 1)


RIGHT = [{"rain": 0.7, "snow": 0.3}]


@pytest.mark.parametrize("text", ['{"label":"rain","confidence":0.71}', '{"confidence": 0.69, "label": "rain"}'])
def test_check_label_frameworks_answer_is_right(text: str) -> None:
    assert targets.check_label(text, RIGHT) in text


@pytest.mark.parametrize(
    "text", ['{"label":"snow","confidence":0.7}', '{"label":"rain","confidence":0.5}', '{"rain": 0.7}', "", "NaN"]
)
def test_check_label_other_answer_is_wrong(text: str) -> None:
    with pytest.raises(WrongAnswer):
        targets.check_label(text, RIGHT)


def test_check_label_equally_likely_label_is_right() -> None:
    assert targets.check_label('{"label":"b","confidence":0.5}', [{"a": 0.505, "b": 0.495}]) == '"label":"b"'


def test_check_label_mixture_of_right_answers_is_wrong() -> None:
    right = [{"rain": 0.9, "snow": 0.1}, {"rain": 0.3, "snow": 0.7}]
    assert targets.check_label('{"label":"snow","confidence":0.7}', right) == '"label":"snow"'
    with pytest.raises(WrongAnswer, match=r"says snow 0.900, the framework rain 0.900"):
        targets.check_label('{"label":"snow","confidence":0.9}', right)


def test_check_action_other_action_is_wrong() -> None:
    assert targets.check_action('{"predictions":[{"action": 1}]}', 1) == '"action": 1'
    for text in ('{"action":0}', '{"error":"x"}'):
        with pytest.raises(WrongAnswer):
            targets.check_action(text, 1)
