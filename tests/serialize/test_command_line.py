"""What `python -m serialize` says and how it ends."""

import subprocess
import sys
from pathlib import Path

import pytest

from archive.signing import generate_keys
from errors import ArchiveError, WeightsMissing
from serialize.__main__ import main
from settings.load import CONFIG


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


def test_inspect_shows_an_archive(
    built: "tuple[Path, subprocess.CompletedProcess[str]]", capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(built[0] / "cartpole.mar")]) == 0
    shown = capsys.readouterr().out
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
        assert words in shown


def test_inspect_tells_provenance_and_signature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    private, public = generate_keys(tmp_path / "keys")
    _, stranger = generate_keys(tmp_path / "stranger")
    folder = tmp_path / "archives"
    overrides = ("served_model=cartpole", "served_model.weights=random", f"paths.archives={folder}")
    assert main([*overrides, f"signing.key={private}"]) == 0
    path = str(folder / "cartpole.mar")
    capsys.readouterr()
    assert main(["inspect", path]) == 0
    shown = capsys.readouterr().out
    assert "Ed25519, not checked" in shown
    assert "python -m serialize served_model=cartpole served_model.weights=random\n" in shown
    for word in ("checkpoint_sha256", "torch ", "onnxruntime ", "kit "):
        assert word in shown
    assert str(tmp_path) not in shown.partition("manifest")[2]
    assert main(["inspect", path, f"signing.public_key={public}"]) == 0
    assert f"made with the key of {public}" in capsys.readouterr().out
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        main(["inspect", path, f"signing.public_key={stranger}"])


def test_inspect_refuses_what_is_no_archive_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.mar").write_bytes(b"no zip")
    done = serialize("inspect", str(tmp_path / "x.mar"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "not a readable archive" in done.stderr


def test_serialize_without_weights_prints_the_command_that_gets_them(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"get them with: make train_demo$"):
        main(["served_model=digits", f"paths.archives={tmp_path}", f"paths.weights={tmp_path}"])
    assert list(tmp_path.iterdir()) == []


def test_all_builds_what_it_can_and_lists_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--all", f"paths.archives={tmp_path}", f"paths.weights={tmp_path}"]) == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("not built: ")]
    assert len(lines) == len(list((CONFIG / "served_model").glob("*.yaml")))
    assert any("make download_weights MODEL=imagenet_resnet18" in line for line in lines)
