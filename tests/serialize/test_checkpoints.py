"""A checkpoint is found where it belongs, or the command that gets it is named."""

import hashlib
import os
from pathlib import Path

import pytest

from errors import BuildError, WeightsMissing
from serialize.checkpoints import locate
from serialize.state_dict import load_tensors
from tests.serialize.conftest import Compose


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("digits", "make train_demo$"),
        ("cartpole", "make train_demo$"),
        ("imagenet_resnet18", "make download_weights MODEL=imagenet_resnet18$"),
        ("weather", "put your checkpoint at .*weather.pt or set served_model.checkpoint=PATH$"),
        ("genre_classifier", "put your checkpoint at .*genre_classifier.pt or set"),
    ],
)
def test_locate_missing_weights_names_the_command_that_gets_them(compose: Compose, model: str, words: str) -> None:
    composed = compose(model)
    with pytest.raises(WeightsMissing, match=words):
        locate(composed.built_model, composed.paths)


@pytest.mark.parametrize("model", ["digits", "cartpole"])
def test_locate_own_checkpoint_of_a_demo_model_names_its_path(compose: Compose, tmp_path: Path, model: str) -> None:
    composed = compose(model, f"served_model.checkpoint={tmp_path / 'mine.pt'}")
    with pytest.raises(WeightsMissing, match=f"; put your checkpoint at {tmp_path / 'mine.pt'} or set"):
        locate(composed.built_model, composed.paths)


def test_locate_download_has_the_models_name(compose: Compose, tmp_path: Path) -> None:
    composed = compose("weather", "served_model.checkpoint='https://example.org/a/resnet-37.pth?raw=1'")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "weather.pth").write_bytes(b"...")
    assert locate(composed.built_model, composed.paths) == tmp_path / "weights" / "weather.pth"


@pytest.mark.parametrize(
    ("checkpoint", "words"),
    [
        ("folder", "folder is not a file; set served_model.checkpoint"),
        ("pipe", "pipe is not a file"),
        ("/dev/zero", "/dev/zero is not a file"),
        (
            "/proc/self/mem",
            "/proc/self/mem: Input/output error; set served_model.checkpoint to a file that can be read",
        ),
        ("x" * 300, "x: File name too long"),
        ("loop", "loop: Too many levels of symbolic links|no weights at .*loop"),
    ],
)
def test_locate_refuses_what_is_no_file(compose: Compose, tmp_path: Path, checkpoint: str, words: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    composed = compose("cartpole", f"served_model.checkpoint={tmp_path / checkpoint}")
    with pytest.raises(BuildError, match=words):
        locate(composed.built_model, composed.paths)


@pytest.mark.parametrize("content", [b"", b"root:x:0:0:root:/root:/bin/bash\n", b"\x80\x02", b"(", bytes(range(256))])
def test_load_tensors_of_another_file_is_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "passwd"
    path.write_bytes(content)
    with pytest.raises(BuildError, match=f"^{path}: ") as caught:
        load_tensors(path, path)
    assert "\n" not in str(caught.value)


def test_locate_another_sha256_is_refused(compose: Compose, tmp_path: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"...")
    right = hashlib.sha256(b"...").hexdigest()
    good = compose("weather", f"served_model.checkpoint={tmp_path / 'mine.pt'}", f"served_model.sha256={right[:12]}")
    assert locate(good.built_model, good.paths) == tmp_path / "mine.pt"

    bad = compose("weather", f"served_model.checkpoint={tmp_path / 'mine.pt'}", "served_model.sha256=abcdef0123")
    with pytest.raises(BuildError, match=f"has sha256 {right}, served_model.sha256 is abcdef0123"):
        locate(bad.built_model, bad.paths)
