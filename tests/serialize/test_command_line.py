"""What `python -m serialize` says and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from archive.signing import generate_keys


def serialize(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "serialize", *arguments], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> "tuple[Path, subprocess.CompletedProcess[str]]":
    folder = tmp_path_factory.mktemp("archives")
    return folder, serialize("served_model=cartpole", "served_model.weights=random", f"paths.archives={folder}")


def test_the_last_line_says_what_was_built(built: "tuple[Path, subprocess.CompletedProcess[str]]") -> None:
    folder, done = built
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    path = folder / "cartpole.mar"
    for words in (
        str(path),
        f"{path.stat().st_size:,} bytes",
        "sha256 ",
        "onnx, random weights",
        "parity",
        "limit 0.0001",
    ):
        assert words in line
    assert "cartpole: packing" in done.stderr.splitlines()


def test_inspect_shows_an_archive(built: "tuple[Path, subprocess.CompletedProcess[str]]") -> None:
    done = serialize("inspect", str(built[0] / "cartpole.mar"))
    assert done.returncode == 0
    for words in (
        "modelVersion",
        '"weights": "random"',
        "model.onnx",
        "content sha256",
        "4 requests",
        "signature",
        "none",
        "tolerance 0.0001",
    ):
        assert words in done.stdout


def test_inspect_tells_provenance_and_signature(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path / "keys")
    _, stranger = generate_keys(tmp_path / "stranger")
    folder = tmp_path / "archives"
    overrides = ("served_model=cartpole", "served_model.weights=random", f"paths.archives={folder}")
    assert serialize(*overrides, f"signing.key={private}").returncode == 0
    path = str(folder / "cartpole.mar")
    shown = serialize("inspect", path).stdout
    assert "Ed25519, not checked" in shown
    assert "python -m serialize served_model=cartpole served_model.weights=random\n" in shown
    for word in ("checkpoint_sha256", "torch ", "onnxruntime ", "kit "):
        assert word in shown
    assert str(tmp_path) not in shown.partition("manifest")[2]
    assert f"made with the key of {public}" in serialize("inspect", path, f"signing.public_key={public}").stdout
    refused = serialize("inspect", path, f"signing.public_key={stranger}")
    assert refused.returncode == 1
    assert "its signature is not one of" in refused.stderr


def test_inspect_refuses_what_is_no_archive_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.mar").write_bytes(b"no zip")
    done = serialize("inspect", str(tmp_path / "x.mar"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "not a readable archive" in done.stderr


def test_serialize_without_weights_prints_the_command_that_gets_them(tmp_path: Path) -> None:
    done = serialize("served_model=digits", f"paths.archives={tmp_path}", f"paths.weights={tmp_path}")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].endswith("get them with: make train_demo")
    assert list(tmp_path.iterdir()) == []


def test_all_builds_what_it_can_and_lists_the_rest(tmp_path: Path) -> None:
    done = serialize("--all", f"paths.archives={tmp_path}", f"paths.weights={tmp_path}")
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("not built: ")]
    assert len(lines) == 5
    assert any("make download_weights MODEL=imagenet_resnet18" in line for line in lines)
