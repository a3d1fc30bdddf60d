"""What docs/upgrade.md says is enough: the record, the archives and nothing else bring everything back to serve."""

import shutil
from pathlib import Path

import pytest
import requests

from tests.e2e.conftest import Stack, left_running, new_stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def serving(stack: Stack) -> dict[str, list[str]]:
    listed = requests.get(f"{stack.gateway}/models", timeout=30).json()["models"]
    return {each["name"]: [version["version"] for version in each["versions"]] for each in listed}


def test_a_back_up_on_another_machine_serves_as_before_and_goes_back_as_before(stack: Stack, tmp_path: Path) -> None:
    stack.run("upload_model.py", "served_model=cartpole", "served_model.request_params.max_batch_delay=3")
    saved = tmp_path / "saved"
    (saved / "archives").mkdir(parents=True)
    shutil.copy(stack.state / "serving.json", saved)
    for path in stack.archives.glob("*-*.*"):
        shutil.copy(path, saved / "archives")

    restored = new_stack(tmp_path / "state", tmp_path / "archives")
    restored.state.mkdir()
    shutil.copy(saved / "serving.json", restored.state)
    shutil.copytree(saved / "archives", restored.archives)
    try:
        said = restored.run("-m", "stack", "up")
        assert "cartpole" in said
        assert serving(restored) == serving(stack)
        answer = requests.post(f"{restored.gateway}/models/cartpole/predict", json=[0, 0, 0.1, 0.5], timeout=30)
        assert answer.status_code == 200
        restored.run("-m", "delivery", "rollback", "served_model=cartpole")
        assert serving(restored) != serving(stack)
    finally:
        restored.run("-m", "stack", "down")
    assert left_running(restored) == []
