"""The commands that make targets run, with the variables that users set."""

import subprocess

import pytest

from settings.load import ROOT


def commands(*words: str) -> str:
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.replace("\\\n", " ").split())


@pytest.mark.parametrize(
    ("target", "check"),
    [("compose_up", "ready"), ("compose_upload", "ready"), ("compose_rollback", "own"), ("compose_down", "own")],
)
def test_only_targets_that_bring_something_new_make_secrets(target: str, check: str) -> None:
    assert f"-m stack.compose {check} " in commands(target)
