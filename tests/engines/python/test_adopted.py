"""The entry of an adopted archive runs the archive's own handler, in a worker's process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from archive import UnpackLimits, sealed
from archive.adopted import NO_PACKAGES, adopted_files, adopted_manifest
from archive.foreign import read_foreign
from settings.load import ROOT
from tests.archive.foreign_archives import handler_file, make_archive, parrot

RUN = """
import json, os, sys
from pathlib import Path
from engines.python.loaded_handler import LoadedHandler
from engines.python.messages import InferenceRequest
from engines.python.registry import Registration

folder = Path(sys.argv[1])
handler = LoadedHandler(folder, Registration("parrot", "1.0", "", "", 4, 0, 60), "docker/metrics.yaml", None)
batch = [InferenceRequest("id", tuple(headers.items()), "", body.encode()) for body, headers in json.loads(sys.argv[2])]
responses, _ = handler.answer(batch)
print(json.dumps({
    "responses": [[each.status, dict(each.headers), each.body.decode("latin-1")] for each in responses],
    "card": handler.describe(),
    "pid": str(os.getpid()),
}))
"""

CLASS = """
import torchvision.ops
from ts.torch_handler.base_handler import BaseHandler


class Own(BaseHandler):
    def initialize(self, context):
        self.context = context

    def handle(self, data, context):
        model = context.manifest["model"]
        seen = [model["handler"], model["modelName"], context.model_yaml_config, torchvision.ops.nms.__name__]
        return [seen] * len(data)
"""


def unpacked(
    archive: Path, folder: Path, name: str = "parrot", packages: Mapping[str, bytes] = NO_PACKAGES, **model: object
) -> Path:
    """The adopted archive as an engine unpacks it."""
    foreign = read_foreign(archive, UnpackLimits())
    card = {"kind": "adopted", "model_name": name, "request_params": {"batch_size": 1}}
    files = adopted_files(foreign, card, {}, {}, packages)
    manifest = adopted_manifest(foreign, name, "1.2", files)
    manifest["model"] |= model
    for path, content in sealed(files, manifest).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return folder


def answers(folder: Path, *batch: tuple[object, Mapping[str, str]]) -> dict[str, Any]:
    given = [(json.dumps(body), {"content-type": "application/json", **more}) for body, more in batch]
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(folder), json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_function_answers_and_each_response_names_its_version_and_worker(tmp_path: Path) -> None:
    folder = unpacked(parrot(tmp_path / "theirs"), tmp_path / "folder", threads=2)
    found = answers(folder, ({"say": [1]}, {}), ({"status": 418}, {}), ({"header": "X-Who"}, {"x-who": "me"}))
    [said, odd, asked] = found["responses"]
    assert (said[0], json.loads(said[2])) == (200, [1])
    assert said[1] == {"x-model-version": "1.2", "x-worker-pid": found["pid"]}
    assert (odd[0], odd[1]["x-mood"], odd[1]["content-type"]) == (418, "stout", "text/plain; charset=utf-8")
    assert json.loads(asked[2]) == ["me", "me"]
    assert found["card"]["request_params"] == {"batch_size": 1, "threads": 2}


def test_class_sees_its_own_manifest_and_configuration(tmp_path: Path) -> None:
    (tmp_path / "model-config.yaml").write_text("minWorkers: 1\nhandler:\n  mode: loud\n")
    handler = handler_file(tmp_path, CLASS, "own_handler.py")
    archive = make_archive(tmp_path / "theirs", "Own", handler, "--config-file", tmp_path / "model-config.yaml")
    found = answers(unpacked(archive, tmp_path / "folder"), ({}, {}))
    own = {"minWorkers": 1, "handler": {"mode": "loud"}}
    assert json.loads(found["responses"][0][2]) == ["own_handler.py", "Own", own, "nms"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_package\n", "No module named 'no_such_package'"),
        ("class A: ...\nclass B: ...\n", "must define one class or a function `handle`, it has 2 classes"),
    ],
    ids=["missing package", "two classes"],
)
def test_handler_that_does_not_load_says_why(tmp_path: Path, text: str, reason: str) -> None:
    archive = make_archive(tmp_path / "theirs", "parrot", handler_file(tmp_path, text))
    folder = unpacked(archive, tmp_path / "folder")
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(folder), "[]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert reason in done.stderr


BRINGING = """
import own_package


def handle(data, context):
    return None if data is None else [own_package.NAME] * len(data)
"""


def brought(name: str, version: str, python: str | None = None) -> dict[str, bytes]:
    """The files of a package that an archive brings, as adoption lays them out."""
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    info = f"MAR-INF/packages/{name}-{version}.dist-info"
    return {
        "MAR-INF/environment.json": json.dumps({"python": python or here, "platform": None}).encode(),
        f"MAR-INF/packages/{name}.py": b"NAME = 'brought'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode(),
        f"{info}/RECORD": f"{name}.py,,\n".encode(),
    }


def test_handler_imports_the_packages_that_its_archive_brings(tmp_path: Path) -> None:
    archive = make_archive(tmp_path / "theirs", "parrot", handler_file(tmp_path, BRINGING))
    folder = unpacked(archive, tmp_path / "folder", packages=brought("own_package", "1.0"))
    assert answers(folder, ({}, {}))["responses"][0][2] == "brought"


@pytest.mark.parametrize(
    ("packages", "reason"),
    [
        (brought("own_package", "1.0", "2.7"), "the archive's packages are for python 2.7, this is 3"),
        (brought("psutil", "0.1"), "the archive brings psutil 0.1, and this engine's workers"),
    ],
    ids=["another python", "loaded before"],
)
def test_packages_that_do_not_fit_the_worker_are_refused(
    tmp_path: Path, packages: dict[str, bytes], reason: str
) -> None:
    archive = make_archive(tmp_path / "theirs", "parrot", handler_file(tmp_path, BRINGING))
    folder = unpacked(archive, tmp_path / "folder", packages=packages)
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(folder), "[]"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert reason in done.stderr


DETECTING = """
import torch

torch.ops.load_library = lambda path: (_ for _ in ()).throw(OSError("made for another torch"))

import torchvision


def handle(data, context):
    if data is None:
        return None
    torch.manual_seed(1)
    corners, scores = torch.rand(300, 2), torch.rand(300)
    boxes = torch.cat([corners, corners + torch.rand(300, 2)], dim=1)
    kept = torchvision.ops.batched_nms(boxes, scores, torch.zeros(300), 0.3)
    return [[boxes.tolist(), scores.tolist(), kept.tolist()]]
"""


def test_detectors_work_beside_a_torch_that_torchvision_was_not_compiled_for(tmp_path: Path) -> None:
    import torch
    from torchvision.ops import nms

    archive = make_archive(tmp_path / "theirs", "parrot", handler_file(tmp_path, DETECTING))
    said = answers(unpacked(archive, tmp_path / "folder"), ({}, {}))["responses"][0]
    assert said[0] == 200
    boxes, scores, kept = json.loads(said[2])
    assert 0 < len(kept) < 300
    assert kept == nms(torch.tensor(boxes), torch.tensor(scores), 0.3).tolist()
