"""A worker's warnings stand as JSON in the log of the stack, with the model that they are about."""

import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.python.process_setup import LOG_FILE, log_replica
from settings.load import ROOT


@pytest.fixture(autouse=True)
def own_handlers() -> Iterator[None]:
    root = logging.getLogger()
    before = list(root.handlers)
    yield
    for handler in root.handlers:
        if handler not in before:
            root.removeHandler(handler)
            handler.close()
    logging.captureWarnings(False)


def test_replica_warning_is_a_json_line_in_the_stacks_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "ray.log"
    file.write_text("what Ray itself has said\n")
    monkeypatch.setenv(LOG_FILE, str(file))
    log_replica("digits", "1.0")
    logging.getLogger("handlers").warning("refused", extra={"fields": {"request_id": "order-66"}})
    first, second = file.read_text().splitlines()
    assert first == "what Ray itself has said"
    line = json.loads(second)
    assert (line["event"], line["level"], line["request_id"]) == ("refused", "warning", "order-66")
    assert (line["model"], line["version"]) == ("digits", "1.0")


def test_replica_warning_without_that_folder_goes_to_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LOG_FILE, str(tmp_path / "elsewhere" / "ray.log"))
    log_replica("digits", "1.0")
    logging.getLogger("handlers").warning("refused")
    assert json.loads(capsys.readouterr().out)["event"] == "refused"
    assert list(tmp_path.iterdir()) == []


PROGRAM = """
import sys
from engines.python import process_setup
process_setup.log_program()
process_setup.log_output()
print("\\x1b[33m(raylet)\\x1b[0m a worker died")
sys.stderr.write("in two ")
sys.stderr.write("pieces\\n\\n")
import logging
logging.getLogger("engines").error("ours")
logging.getLogger("uvicorn.error").info("nobody asked")
"""


def test_program_output_is_logged_as_json_without_colours() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["level"], line["event"]) for line in lines] == [
        ("info", "(raylet) a worker died"),
        ("warning", "in two pieces"),
        ("error", "ours"),
    ]
    assert done.stdout == ""
