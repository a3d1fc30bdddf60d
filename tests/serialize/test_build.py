"""A build makes one whole, checked archive of a checkpoint, or leaves everything as it was."""

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from archive import open_archive
from errors import BuildError, ParityError
from serialize import build as building
from serialize.build import BuildResult, build
from serialize.formats import FORMATS
from serialize.formats.eager import Eager
from serialize.offline_handler import reading_handler
from serialize.pack import ArchiveContents, archive_files, write_model_folder
from serialize.parity import check_parity, comparable_references, golden_answers, golden_requests
from tests.serialize.conftest import Compose
from tests.serialize.sb3_models import box, make

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")

RANDOM = "served_model.weights=random"
EAGER = "served_model.artifact=eager"  # the fastest export, for what is the same in each format
HANDLER_FILES = {str(path) for path in Path("handlers").rglob("*.py")}


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "policy.zip"
    make(PPO, box([-4.8, -9, -0.4, -9], [4.8, 9, 0.4, 9], (4,)), spaces.Discrete(2)).save(path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("form", ["eager", "torchscript", "onnx"])
def test_an_archive_holds_what_the_contract_says(compose: Compose, tmp_path: Path, checkpoint: Path, form: str) -> None:
    built = build(compose("cartpole", f"served_model.checkpoint={checkpoint}", f"served_model.artifact={form}"))

    archive = open_archive(tmp_path / "archives" / "cartpole.mar")
    assert built.archive == archive
    documents = {
        "MAR-INF/MANIFEST.json",
        "MAR-INF/FIXED.json",
        "checksums.sha256",
        "golden.json",
        "model.json",
    }
    assert {file.name for file in archive.files} == documents | HANDLER_FILES | {
        "policy_handler.py",
        "sitecustomize.py",
        FORMATS[form].file,
    }
    assert archive.manifest["model"] == {
        "modelName": "cartpole",
        "modelVersion": "1.0",
        "handler": "policy_handler.py",
        "serializedFile": FORMATS[form].file,
    }
    assert archive.card["artifact"]["format"] == form
    assert archive.card["weights"] == "trained"
    assert archive.card["provenance"]["checkpoint"] == "policy.zip"
    space, drawn = {"type": "discrete", "n": 2, "start": 0}, {"type": "categorical"}
    assert archive.card["action"] == {"names": ["left", "right"], "space": space, "distribution": drawn}
    assert built.parity.output < built.parity.tolerance
    assert names(tmp_path / "archives") == ["cartpole.mar"]


def test_golden_requests_are_those_of_a_client(compose: Compose, checkpoint: Path) -> None:
    samples = build(compose("cartpole", f"served_model.checkpoint={checkpoint}", EAGER)).archive.golden["samples"]
    bodies = [json.loads(base64.b64decode(sample["body"])) for sample in samples]
    assert set(bodies[0]) == {"cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"}
    assert [len(sample["predictions"]) for sample in samples] == [1, 1, 1, len(bodies[3]["instances"])]
    assert all(sample["predictions"][0]["action"] in (0, 1) for sample in samples)


def test_random_weights_are_named_in_the_card(compose: Compose) -> None:
    archive = build(compose("digits", RANDOM, EAGER)).archive
    assert archive.card["weights"] == "random"
    assert archive.card["provenance"]["checkpoint"] is None
    assert {sample["content_type"] for sample in archive.golden["samples"]} == {"image/png", "image/jpeg"}


def test_build_twice_writes_the_same_bytes(compose: Compose, tmp_path: Path, checkpoint: Path) -> None:
    first = build(compose("cartpole", f"served_model.checkpoint={checkpoint}")).archive.sha256
    moved = tmp_path / "deep" / "policy.zip"
    moved.parent.mkdir()
    shutil.copyfile(checkpoint, moved)
    overrides = [
        f"served_model.checkpoint={moved}",
        f"paths.archives={tmp_path / 'other'}",
        "served_model=cartpole",
        "parity.library=off",
    ]
    environment = os.environ | {"TMPDIR": str(moved.parent), "TZ": "Asia/Tokyo", "PYTHONHASHSEED": "5"}

    done = subprocess.run(
        [sys.executable, "-m", "serialize", *overrides],
        env=environment,
        umask=0o077,
        capture_output=True,
        text=True,
        check=True,
    )

    assert open_archive(tmp_path / "other" / "cartpole.mar").sha256 == first
    assert first in done.stdout.splitlines()[-1]
    assert names(moved.parent) == ["policy.zip"]


def test_build_leaves_the_temporary_folder_alone(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Path
) -> None:
    mine = tmp_path / "tmp" / "cartpole"
    mine.mkdir(parents=True)
    (mine / "precious").write_text("mine")
    monkeypatch.setenv("TMPDIR", str(mine.parent))
    build(compose("cartpole", f"served_model.checkpoint={checkpoint}", EAGER))
    assert (mine / "precious").read_text() == "mine"


class Shifted(Eager):
    """An exporter with a fault: one bias is off by a tenth."""

    def export(self, source: Any, target: Path) -> dict[str, Any]:
        details = super().export(source, target)
        state = torch.load(target, weights_only=True)
        name = next(reversed(state))
        state[name][0] += 0.1
        torch.save(state, target)
        return details


@pytest.mark.parametrize("name", ["cartpole", "digits"])
def test_build_of_a_wrong_artifact_is_refused(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    good = build(compose(name, RANDOM, EAGER)).archive
    monkeypatch.setitem(FORMATS, "eager", Shifted())

    with pytest.raises(
        ParityError, match=r"worst first: request \d .*logits\[\d, 0\] is .* instead of .*nothing is packed"
    ):
        build(compose(name, RANDOM, EAGER))

    assert open_archive(tmp_path / "archives" / f"{name}.mar") == good
    assert names(tmp_path / "archives") == [f"{name}.mar"]


def test_check_parity_missing_activation_is_noticed(compose: Compose, tmp_path: Path, checkpoint: Path) -> None:
    """A policy server once left out the activations, and its four test states were still answered right."""
    composed = compose("cartpole", f"served_model.checkpoint={checkpoint}", EAGER)
    model = composed.built_model
    source = building.load_model(model, checkpoint)
    work = tmp_path / "work"
    work.mkdir()
    artifact, card = building.export(model, source, checkpoint, work)
    handler = reading_handler(Path(model.handler), building.read_back(card, work))
    references = comparable_references(source, model, golden_requests(source, model), handler)
    card["artifact"]["network"] = card["artifact"]["network"] | {"activation": "Identity"}
    golden = golden_answers(references, handler.card)
    contents = ArchiveContents("cartpole", "1.0", Path(model.handler), artifact, card, golden)
    staged = write_model_folder(archive_files(contents), work / "model")

    with pytest.raises(ParityError, match=r"logits\[\d, \d\] is"):
        check_parity(staged, "policy_handler.py", references)


def test_build_with_wrong_pre_processing_is_refused(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    from handlers import image_preprocess

    honest = image_preprocess.apply
    monkeypatch.setattr(image_preprocess, "apply", lambda picture, settings: honest(picture[::-1], settings))
    with pytest.raises(ParityError, match="the worker's pre-processing is not the framework's"):
        build(compose("digits", RANDOM))


def test_build_packs_a_handler_with_own_pre_processing(compose: Compose, tmp_path: Path) -> None:
    handler = tmp_path / "poster_handler.py"
    handler.write_text(
        "from handlers.vision_handler import VisionHandler\n\n\n"
        "class PosterHandler(VisionHandler):\n"
        "    def image_processing(self, picture):\n"
        "        return super().image_processing(picture[:, ::-1])\n"
    )
    built: BuildResult = build(compose("digits", RANDOM, f"served_model.handler={handler}"))
    assert built.archive.manifest["model"]["handler"] == "poster_handler.py"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("x = 1\n", "exactly one class"),
        ("class A: ...\nclass B: ...\n", "exactly one class"),
        ("class A: ...\n", "derived"),
    ],
)
def test_a_file_without_a_handler_is_refused(compose: Compose, tmp_path: Path, code: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(BuildError, match=words):
        build(compose("digits", RANDOM, EAGER, f"served_model.handler={tmp_path / 'mine.py'}"))


SLOW = """
import os, sys, settings, serialize.build as building
real = getattr(building, sys.argv[1])
def stopped(*arguments):
    result = real(*arguments)
    print("reached", flush=True)
    sys.stdin.read()
    return result
setattr(building, sys.argv[1], stopped)
import commands
from serialize.__main__ import main
sys.argv[1:] = sys.argv[2:]
sys.exit(commands.run(main, None, unwind=""))
"""


@pytest.mark.parametrize(
    ("step", "stop"),
    [
        ("golden_answers", signal.SIGKILL),
        ("write_model_folder", signal.SIGKILL),
        ("write_model_folder", signal.SIGTERM),
        ("write_model_folder", signal.SIGINT),
    ],
)
def test_stopped_build_keeps_the_old_archive(compose: Compose, tmp_path: Path, step: str, stop: signal.Signals) -> None:
    composed = compose("cartpole", RANDOM, EAGER)
    old = build(composed).archive
    folder = tmp_path / "archives"
    overrides = ["served_model=cartpole", RANDOM, EAGER, f"paths.archives={folder}", "served_model.version='2.0'"]
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", SLOW, step, *overrides],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    with process.stdout, process.stdin:
        assert process.stdout.readline() == "reached\n"
        process.send_signal(stop)
        process.wait(timeout=60)
    assert process.returncode != 0

    assert open_archive(folder / "cartpole.mar") == old
    if stop is not signal.SIGKILL:
        assert names(folder) == ["cartpole.mar"]
    # What a killed build cannot remove itself, the next one does.
    assert build(composed).archive == old
    assert names(folder) == ["cartpole.mar"]


def test_two_builds_at_once_leave_one_whole_archive(tmp_path: Path) -> None:
    overrides = ["served_model=cartpole", RANDOM, EAGER, f"paths.archives={tmp_path}"]
    command = [sys.executable, "-m", "serialize", *overrides]
    running = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) for _ in range(2)]
    deadline = time.monotonic() + 120
    assert [process.wait(timeout=deadline - time.monotonic()) for process in running] == [0, 0]
    assert names(tmp_path) == ["cartpole.mar"]
    assert open_archive(tmp_path / "cartpole.mar").model_name == "cartpole"
