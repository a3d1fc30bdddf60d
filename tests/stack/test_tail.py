"""Log lines as a person reads them, from the JSON that the parts write."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from errors import StackError
from settings.load import ROOT
from stack import lifecycle, processes
from stack.folders import Folders
from stack.tail import format_line, readable
from tests.stack.test_lifecycle import server

# 12:03:04 where this is run; the clock shown is this machine's.
AT = time.mktime((2026, 11, 21, 12, 3, 4, 0, 0, -1))
TIME = time.strftime("%Y-%m-%dT%H:%M:%S.567+00:00", time.gmtime(AT))


def line(**fields: object) -> str:
    return json.dumps({"time": TIME, "level": "warning", "logger": "x", "event": "sent_again", **fields})


def test_format_line_shows_time_level_service_and_fields() -> None:
    text = format_line(line(model="digits", status=200, reason="no worker", trial=None), "gateway")
    assert text == '12:03:04.567 WARNING gateway      sent_again model=digits status=200 reason="no worker"'


def test_a_stack_trace_follows_line_by_line() -> None:
    text = format_line(line(exception="Traceback:\n  here\nValueError: no"), "torchserve")
    assert text.splitlines()[1:] == ["    Traceback:", "      here", "    ValueError: no"]


@pytest.mark.parametrize("text", ["nginx: [warn] something", "[1, 2]", "{", "7"])
def test_what_is_no_json_object_stays_as_it_is(text: str) -> None:
    assert format_line(text, "edge").split(maxsplit=1) == ["edge", text]


def test_rclones_words_are_read_too() -> None:
    assert "Starting s3 server" in format_line(
        '{"level":"notice","msg":"Starting s3 server","time":"2026-11-21"}', "s3"
    )


def test_tails_headings_say_whose_line_it_is() -> None:
    tail = ["==> /m/logs/gateway.log <==", line(), "", "==> /m/filebrowser/access.log <==", line(event="request")]
    parts = [each.split()[2:4] for each in readable([f"{each}\n" for each in tail], "torchserve")]
    assert parts == [["gateway", "sent_again"], ["filebrowser", "request"]]


def test_the_reason_why_a_part_does_not_start_is_its_event(tmp_path: Path) -> None:
    folders = Folders(tmp_path / "state", tmp_path / "model_store", keeps_model_store=False)
    failing = server("gateway", folders, f"print({line(event='no such folder')!r}); raise SystemExit(3)")
    with pytest.raises(StackError, match="gateway ended with status 3: no such folder"):
        lifecycle.up((failing,), folders)


def test_a_long_log_is_put_aside_when_its_part_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "LARGEST_LOG", 10)
    folders = Folders(tmp_path / "state", tmp_path / "model_store", keeps_model_store=False)
    part = server("gateway", folders, "print('ten letters')")
    for _ in range(3):
        processes.start(part, folders).wait()
    kept = {path.name: path.read_text() for path in folders.logs.iterdir()}
    assert kept == {"gateway.log": "ten letters\n", "gateway.log.1": "ten letters\n"}
    assert lifecycle.down(folders) == []


def test_configure_command_unattended_is_json_else_plain(tmp_path: Path) -> None:
    program = "import logging, logs; logs.configure_command(unattended={}); logging.info('one %s', 2)"
    said = [
        subprocess.run(
            [sys.executable, "-c", program.format(lasting)], cwd=ROOT, capture_output=True, text=True, check=True
        ).stderr
        for lasting in (True, False)
    ]
    assert {"level": "info", "event": "one 2"}.items() <= json.loads(said[0]).items()
    assert said[1] == "one 2\n"
