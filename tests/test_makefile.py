"""The commands that make targets run, with the variables that users set."""

import subprocess

import pytest

from settings.load import ROOT


def commands(*words: str) -> str:
    done = subprocess.run(["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True, check=True)
    return " ".join(done.stdout.replace("\\\n", " ").split())


def test_adopt_names_the_model_for_an_archive_and_for_a_running_torchserve() -> None:
    assert 'adopt "a.mar" "s" model=mnist trust=yes' in commands(
        "adopt", "MAR_FILE=a.mar", "SAMPLES=s", "MODEL=mnist", "trust=yes"
    )
    assert 'adopt torchserve=http://x samples="s" model=mnist' in commands(
        "adopt", "TORCHSERVE=http://x", "SAMPLES=s", "MODEL=mnist"
    )


@pytest.mark.parametrize(
    ("target", "check"),
    [("compose_up", "ready"), ("compose_upload", "ready"), ("compose_rollback", "own"), ("compose_down", "own")],
)
def test_only_targets_that_bring_something_new_make_secrets(target: str, check: str) -> None:
    assert f"-m stack.compose {check} " in commands(target)
