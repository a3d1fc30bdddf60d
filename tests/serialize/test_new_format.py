"""The sixth format of docs/add-a-model.md is one file, and an archive is built with it."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from archive import open_archive

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("serialize", "handlers", "settings", "archive", "config")


def test_new_format_is_one_file(tmp_path: Path) -> None:
    kit = tmp_path / "kit"
    for room in ROOMS:
        shutil.copytree(ROOT / room, kit / room, ignore=shutil.ignore_patterns("__pycache__", "local"))
    for file in ("errors.py", "files.py", "logs.py", "commands.py", "pyproject.toml"):
        shutil.copyfile(ROOT / file, kit / file)
    page = (ROOT / "docs" / "add-a-model.md").read_text()
    found = re.search(r"`(serialize/formats/\w+\.py)`, is\n.*?```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    (kit / found[1]).write_text(found[2])

    words = ["served_model=digits", "served_model.weights=random", "served_model.artifact=onnx-plain"]
    command = [sys.executable, "-W", "ignore", "-m", "serialize", *words, f"paths.archives={tmp_path}"]
    done = subprocess.run(command, cwd=kit, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    artifact = open_archive(tmp_path / "digits.mar").card["artifact"]
    assert artifact == {"format": "onnx-plain", "runtime": "onnx", "file": "model.onnx", "opset": 17}
