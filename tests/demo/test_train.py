"""Training makes whole checkpoints that hold what they promise, and only those that are missing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from stable_baselines3 import PPO

import settings
from demo.__main__ import missing
from demo.train_cartpole import evaluate, train_cartpole
from demo.train_digits import train_digits
from errors import BuildError
from serialize.policy_loader import read_policy
from serialize.vision_loader import read_vision
from settings.schema import PolicyModel, VisionModel

torch.set_num_threads(1)


def test_trained_policy_is_written_and_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.train_cartpole.ROUND", 4096)
    monkeypatch.setattr("demo.train_cartpole.TARGET", 60.0)
    path = tmp_path / "new" / "cartpole.zip"

    assert train_cartpole(path) >= 60.0

    assert [item.name for item in path.parent.iterdir()] == ["cartpole.zip"]
    assert evaluate(PPO.load(path, device="cpu")) >= 60.0
    model = settings.load(["served_model=cartpole"]).served_model
    assert isinstance(model, PolicyModel)
    assert read_policy(model, path).card["observation"]["space"]["shape"] == [4]


def test_a_policy_that_does_not_hold_the_pole_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.train_cartpole.ROUND", 256)
    monkeypatch.setattr("demo.train_cartpole.ROUNDS", 1)
    with pytest.raises(BuildError, match="mean return"):
        train_cartpole(tmp_path / "cartpole.zip")
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_below_its_target_is_not_written(tmp_path: Path) -> None:
    model = settings.load(["served_model=digits"]).served_model
    assert isinstance(model, VisionModel)
    with pytest.raises(BuildError, match=r"only .* of the unseen digits are right, 98% are expected"):
        train_digits(model, tmp_path / "digits.pt", epochs=1)
    assert list(tmp_path.iterdir()) == []


def test_a_classifier_is_written_as_a_plain_state_dict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("demo.train_digits.TARGET", 0.0)
    model = settings.load(["served_model=digits"]).served_model
    assert isinstance(model, VisionModel)
    path = tmp_path / "digits.pt"
    train_digits(model, path, epochs=1)
    assert "classifier.3.weight" in torch.load(path, weights_only=True)
    assert read_vision(model, path).card["labels"] == [str(digit) for digit in range(10)]
    assert [item.name for item in tmp_path.iterdir()] == ["digits.pt"]


def test_only_what_is_missing_is_trained_unless_forced(tmp_path: Path) -> None:
    composed = {
        name: settings.load([f"served_model={name}", f"paths.weights={tmp_path}"]) for name in ("digits", "cartpole")
    }
    (tmp_path / "digits.pt").write_bytes(b"...")
    assert missing(composed, force=False) == {"cartpole": tmp_path / "cartpole.zip"}
    assert set(missing(composed, force=True)) == {"digits", "cartpole"}


def test_a_second_run_says_what_is_there(tmp_path: Path) -> None:
    for name in ("digits.pt", "cartpole.zip"):
        (tmp_path / name).write_bytes(b"...")
    command = [sys.executable, "-m", "demo", "train", f"paths.weights={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "digits: is trained already; --force trains it again",
        "cartpole: is trained already; --force trains it again",
        f"digits: 200 pictures for calibration in {tmp_path / 'digits_pictures'}",
    ]
    assert len(list((tmp_path / "digits_pictures").iterdir())) == 200
    again = subprocess.run(command, capture_output=True, text=True, check=True)
    assert again.stdout.splitlines() == done.stdout.splitlines()[:2]


def test_an_unknown_command_says_how_it_is_used() -> None:
    done = subprocess.run([sys.executable, "-m", "demo", "fly"], capture_output=True, text=True, check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "usage" in done.stderr
