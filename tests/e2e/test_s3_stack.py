"""The whole stack with archives in an S3 store: the engine fetches them by URLs that soon end."""

import shutil
import stat
from pathlib import Path

import pytest
import requests

from settings import load
from tests.e2e.conftest import Stack, left_running, new_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
DELAY = "served_model.request_params.max_batch_delay"


def ask(stack: Stack) -> str:
    answer = requests.post(f"{stack.gateway}/models/cartpole/predict", json=STATE, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


def test_archives_go_through_the_stacks_own_s3_server(
    archives: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = tmp_path / "built"
    built.mkdir()
    shutil.copy(archives / "cartpole.mar", built)
    stack = new_stack(tmp_path / "state", built)
    stack.env["MARINA_S3_PORT"] = new_stack(tmp_path, built).env["MARINA_FILES_PORT"]
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        stack.env.pop(name, None)
    stack.use(monkeypatch)
    store = load(["store=s3"]).store
    assert store.name == "s3"
    assert store.local_folder is not None
    bucket = Path(store.local_folder) / store.bucket
    try:
        assert "s3 is ready" in stack.run("-m", "stack", "up", "store=s3")
        stack.run("upload_model.py", "served_model=cartpole", "store=s3")
        first = ask(stack)
        assert [file.name for file in bucket.iterdir()] == [f"cartpole-{first}.mar"]
        assert stat.S_IMODE(Path(store.credentials).stat().st_mode) == 0o600
        stack.run("upload_model.py", "served_model=cartpole", "store=s3", f"{DELAY}=7")
        assert ask(stack) != first
        assert "serves already" in stack.run("upload_model.py", "served_model=cartpole", "store=s3", f"{DELAY}=7")
        assert "trained" in stack.run("-m", "delivery", "models", "store=s3")
        assert "serves again" in stack.run("-m", "delivery", "rollback", "served_model=cartpole", "store=s3")
        assert ask(stack) == first
        stack.run("-m", "stack", "down", "store=s3")
        assert left_running(stack) == []
        assert "cartpole" in stack.run("-m", "stack", "up", "store=s3")
        assert ask(stack) == first
    finally:
        stack.run("-m", "stack", "down", "store=s3")
    assert left_running(stack) == []
