"""Servers as processes, and whether what they answer is right."""

import sys
from pathlib import Path

import psutil
import pytest

from bench import answers
from bench.server import Failed, Wrong, serving

# A server that ignores SIGTERM and has started a helper in a session of its own, which does so as well.
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if len(sys.argv) == 1:
    helper = subprocess.Popen([sys.executable, __file__, "helper"], start_new_session=True)
    print(helper.pid, flush=True)
time.sleep(600)
"""


def test_every_process_of_a_server_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.server.STOP_S", 1.0)
    program = tmp_path / "stubborn.py"
    program.write_text(STUBBORN)
    with serving([sys.executable, str(program)], {}, tmp_path / "folder") as server:
        server.wait(lambda: server.last_words().isdigit() and len(server.processes()) == 2, 30)
        pids = [process.pid for process in server.processes()]
        assert int(server.last_words()) in pids
        assert server.memory_mb() > 1
    assert not any(psutil.pid_exists(pid) for pid in pids)


def test_a_server_that_ends_is_not_waited_for(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no such model')"]
    with serving(command, {}, tmp_path) as server, pytest.raises(Failed, match="it ended: no such model"):
        server.wait(lambda: False, 60)


def test_a_server_that_hangs_is_given_up(tmp_path: Path) -> None:
    with (
        serving(["sleep", "600"], {}, tmp_path) as server,
        pytest.raises(Failed, match="no right answer within 1 s: it said nothing"),
    ):
        server.wait(lambda: False, 1)


RIGHT = [{"rain": 0.7, "snow": 0.3}]


@pytest.mark.parametrize("text", ['{"label":"rain","confidence":0.71}', '{"confidence": 0.69, "label": "rain"}'])
def test_the_frameworks_answer_is_right_however_it_is_written(text: str) -> None:
    assert answers.picture(text, RIGHT) in text


@pytest.mark.parametrize(
    "text", ['{"label":"snow","confidence":0.7}', '{"label":"rain","confidence":0.5}', '{"rain": 0.7}', "", "NaN"]
)
def test_any_other_answer_is_wrong(text: str) -> None:
    with pytest.raises(Wrong):
        answers.picture(text, RIGHT)


def test_a_label_as_likely_as_the_frameworks_is_right() -> None:
    assert answers.picture('{"label":"b","confidence":0.5}', [{"a": 0.505, "b": 0.495}]) == '"label":"b"'


def test_an_answer_may_be_any_of_the_right_ones_but_no_mixture() -> None:
    right = [{"rain": 0.9, "snow": 0.1}, {"rain": 0.3, "snow": 0.7}]
    assert answers.picture('{"label":"snow","confidence":0.7}', right) == '"label":"snow"'
    with pytest.raises(Wrong, match=r"says snow 0.900, the framework rain 0.900"):
        answers.picture('{"label":"snow","confidence":0.9}', right)


def test_an_action_is_compared() -> None:
    assert answers.state('{"predictions":[{"action": 1}]}', 1) == '"action": 1'
    for text in ('{"action":0}', '{"error":"x"}'):
        with pytest.raises(Wrong):
            answers.state(text, 1)
