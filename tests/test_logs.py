"""The log set-up of programs."""

import json
import subprocess
import sys

from settings.load import ROOT


def logged(program: str) -> str:
    code = f"import logging, logs; {program}; logging.info('one %s', 2)"
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stderr


def test_configure_command_second_call_sets_level_and_format() -> None:
    written = logged("logs.configure_command(level=logging.WARNING); logs.configure_command(unattended=True)")
    assert json.loads(written)["event"] == "one 2"
    assert logged("logs.configure_command(); logs.configure_command(level=logging.WARNING)") == ""
