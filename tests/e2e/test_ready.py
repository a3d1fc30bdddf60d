"""What a pod's readiness asks a TorchServe: whether it has the models that are recorded as serving."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from settings.load import ROOT
from tests.e2e.conftest import ENGINE, Stack

pytestmark = pytest.mark.e2e


def asked(stack: Stack, live: Path, address: str | None = None) -> tuple[int, str]:
    """Exit status and words of the program, run beside the engine's key file with nothing but an interpreter."""
    env = {
        "TS_INFERENCE_ADDRESS": f"http://127.0.0.1:{stack.env['MARINA_INFERENCE_PORT']}",
        "TS_MANAGEMENT_ADDRESS": address or f"http://127.0.0.1:{stack.env['MARINA_MANAGEMENT_PORT']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        [sys.executable, "-S", "-m", "engines.torchserve.process.ready", live],
        cwd=stack.key_file.parent,
        env=env | {"PATH": os.environ["PATH"]},
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr.strip()


def serving(stack: Stack) -> str:
    recorded = json.loads((stack.state / "serving.json").read_text())
    return str(recorded["digits"]["serving"]["version"])


def test_it_is_ready_with_what_serves(stack: Stack, tmp_path: Path) -> None:
    assert asked(stack, tmp_path) == (0, "")  # nothing was rolled out yet: it answers, and that is enough
    (tmp_path / "digits.json").write_text(json.dumps(["0.1", serving(stack)]))
    assert asked(stack, tmp_path) == (0, "")


@pytest.mark.parametrize(("model", "versions"), [("digits", ["99.0"]), ("absent", ["1.0"])])
def test_it_is_not_ready_without(stack: Stack, tmp_path: Path, model: str, versions: list[str]) -> None:
    (tmp_path / "digits.json").write_text(json.dumps([serving(stack)]))
    (tmp_path / f"{model}.json").write_text(json.dumps(versions))
    assert asked(stack, tmp_path) == (1, f"not ready: {model}")


def test_an_engine_that_does_not_answer_and_a_damaged_list_are_not_ready(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "digits.json").write_text("[")
    assert asked(stack, tmp_path)[0] == 1
    (tmp_path / "digits.json").write_text("[]")
    assert asked(stack, tmp_path, "http://127.0.0.1:9") == (
        1,
        "not ready: TorchServe did not answer GET /models/digits: ConnectionRefusedError",
    )


def test_a_key_that_has_expired_says_nothing_about_models(stack: Stack, tmp_path: Path) -> None:
    keys = json.loads(stack.key_file.read_text())
    keys["management"]["key"] = "expired"
    (tmp_path / "live").mkdir()
    (tmp_path / "live" / "absent.json").write_text('["1.0"]')
    (tmp_path / ENGINE.part).mkdir()
    (tmp_path / ENGINE.part / "key_file.json").write_text(json.dumps(keys))
    moved = Stack({**stack.env, "MARINA_STATE": str(tmp_path)})
    assert asked(moved, tmp_path / "live") == (0, "")
