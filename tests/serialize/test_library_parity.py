"""The gate's independent side: a policy is packed only where it answers as `predict` of the library itself does."""

import base64
import hashlib
import importlib.util
import json
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import A2C, PPO, SAC, TD3, HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm

from errors import BuildError, ParityError
from handlers.spaces import Box, Discrete
from serialize import build as building
from serialize import library_parity, policy_loader
from serialize.__main__ import describe_archive
from serialize.build import BuildResult, build
from serialize.library_parity import LibraryAgreement
from serialize.loaded_model import LoadedModel
from serialize.sb3 import Actor, read_actor
from serialize.sb3.policy_spaces import ActionSpace, unbounded_box
from tests.polling import wait_for
from tests.serialize.conftest import Compose
from tests.serialize.sb3_cases import BINARY, CARTPOLE, DISCRETE, MULTI, PARTS, PICTURE, SMALL, SMALL_CNN, TWO, WIDE
from tests.serialize.sb3_models import Space, make

ASKED = ("parity.library=required", "served_model.artifact=eager", "served_model.fields=null")
NAMELESS = (*ASKED, "served_model.actions=null", "served_model.policy.activation=null")

GOALS = spaces.Dict(dict.fromkeys(("achieved_goal", "desired_goal", "observation"), SMALL))
HINDSIGHT = {"replay_buffer_class": HerReplayBuffer, "replay_buffer_kwargs": {"n_sampled_goal": 2}}

Gated = Callable[..., BuildResult]


@pytest.fixture
def gated(compose: Compose, tmp_path: Path) -> Gated:
    """Build the archive of a model of the library, or of a checkpoint that is there, with the library required."""

    def build_it(model: BaseAlgorithm | None, *overrides: str) -> BuildResult:
        if model is not None:
            model.save(tmp_path / "policy.zip")
        checkpoint = f"served_model.checkpoint={tmp_path / 'policy.zip'}"
        return build(compose("cartpole", checkpoint, *NAMELESS, *overrides))

    return build_it


def interpreter(path: Path, script: str) -> str:
    """A program in the place of the interpreter that has the library."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return f"parity.python={path}"


def with_data(path: Path, change: dict[str, Any]) -> None:
    """Change what the algorithm stored in a checkpoint."""
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["data"] = json.dumps(json.loads(contents["data"]) | change).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)


def test_the_library_is_installed_where_the_project_is_tested() -> None:
    assert importlib.util.find_spec("stable_baselines3") is not None
    assert importlib.util.find_spec("sb3_contrib") is not None


def test_build_policy_card_names_the_library_and_what_was_compared(gated: Gated) -> None:
    built = gated(make(PPO, CARTPOLE, spaces.Discrete(2)))
    assert isinstance(built.library, LibraryAgreement)
    version = importlib.metadata.version("stable_baselines3")
    assert built.archive.card["parity"] == {
        "reference": f"stable-baselines3 {version}",
        "unpickled": False,
        "observations": 512,
        "tolerance": 1e-5,
    }
    assert f"stable-baselines3 {version} (predict, nothing unpickled) over 512 observations" in str(built.library)
    assert f"answers as      stable-baselines3 {version}\n" in describe_archive(built.archive.path)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(lambda: make(SAC, PARTS, TWO, "MultiInputPolicy"), id="SAC of parts"),
        pytest.param(lambda: make(A2C, PICTURE, DISCRETE, "CnnPolicy", **SMALL_CNN), id="A2C of pictures"),
        pytest.param(lambda: make(QRDQN, spaces.Discrete(6), DISCRETE), id="QR-DQN of codes"),
        pytest.param(lambda: make(TD3, GOALS, TWO, "MultiInputPolicy", **HINDSIGHT), id="TD3 with hindsight"),
        pytest.param(lambda: make(MaskablePPO, spaces.MultiDiscrete([3, 2]), MULTI), id="MaskablePPO"),
    ],
)
def test_build_policy_of_any_space_agrees(gated: Gated, model: Callable[[], BaseAlgorithm]) -> None:
    agreement = gated(model(), "parity.observations=64").library
    assert isinstance(agreement, LibraryAgreement)
    assert agreement.observations == 64
    assert agreement.largest <= library_parity.TOLERANCE


def test_build_normalised_policy_agrees_on_normalised_observations(gated: Gated) -> None:
    figures = "{mean: [1e4, 5, -2, 0], var: [100, 4, 1, 0.5], clip: 2}"
    space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    model = make(PPO, space, TWO)
    assert isinstance(gated(model, f"served_model.observation.normalization={figures}").library, LibraryAgreement)


def read_with(monkeypatch: pytest.MonkeyPatch, fault: Callable[[Actor], Actor]) -> None:
    """Let this process read checkpoints with a fault."""
    monkeypatch.setattr("serialize.policy_loader.read_actor", lambda *arguments: fault(read_actor(*arguments)))


def relu(monkeypatch: pytest.MonkeyPatch) -> None:
    read_with(monkeypatch, lambda actor: replace(actor, activation="ReLU"))


def scaled(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: Any) -> LoadedModel:
        source = policy_loader.read_policy(*arguments)
        with torch.no_grad():
            next(source.network.parameters()).mul_(1.001)
        return source

    monkeypatch.setattr(building, "load_model", read)


@pytest.mark.parametrize(
    ("fault", "action"),
    [(relu, spaces.Discrete(2)), (scaled, TWO)],
    ids=["another activation", "weights off by a thousandth"],
)
def test_build_policy_read_wrongly_is_refused_with_both_answers(
    gated: Gated,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[pytest.MonkeyPatch], None],
    action: Space,
) -> None:
    fault(monkeypatch)
    model = make(PPO, CARTPOLE, action, policy_kwargs={"net_arch": [16, 16]})
    with torch.no_grad():
        for weights in model.policy.parameters():
            weights.mul_(3)
    with pytest.raises(
        ParityError,
        match=r"\d+ of 512 observations .* than by stable-baselines3 .*; first is number \d+, \[.*\]: "
        r"the archive says \[.*\], the library \[.*\]; nothing is packed",
    ):
        gated(model)
    assert list((tmp_path / "archives").iterdir()) == []
    # The kit's own side compares with what it read itself: it sees nothing.
    assert isinstance(gated(model, "parity.library=off").library, str)


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def planted(path: Path, marker: Path) -> str:
    """Put code into what a checkpoint stores for training; returns the checksum of the file."""
    code = base64.b64encode(pickle.dumps(Touch(marker))).decode()
    with_data(path, {"lr_schedule": {":type:": "<class 'function'>", ":serialized:": code}})
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_build_unpickles_only_a_trusted_checkpoint(
    gated: Gated, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    make(PPO, WIDE, TWO).save(tmp_path / "policy.zip")
    checksum = planted(tmp_path / "policy.zip", tmp_path / "ran")

    assert isinstance(gated(None).library, LibraryAgreement)
    assert not (tmp_path / "ran").exists()

    agreement = gated(None, "parity.unpickle=true", f"served_model.sha256={checksum}").library
    assert isinstance(agreement, LibraryAgreement)
    assert agreement.unpickled
    assert (tmp_path / "ran").exists()
    assert f"the library unpickles {tmp_path / 'policy.zip'}, which runs code from it" in caplog.text


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((), "say which file you trust with all 64 digits of served_model.sha256"),
        (("served_model.sha256=CHECKSUM",), "say which file you trust with all 64 digits"),
        (
            ("served_model.checkpoint=http://127.0.0.1/policy.zip",),
            "is a download; if you trust it, name its local",
        ),
    ],
    ids=["no checksum", "its first digits", "a download"],
)
def test_build_unpickle_without_trust_is_refused(
    gated: Gated, tmp_path: Path, overrides: tuple[str, ...], words: str
) -> None:
    make(PPO, WIDE, TWO).save(tmp_path / "policy.zip")
    checksum = planted(tmp_path / "policy.zip", tmp_path / "ran")
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "cartpole.zip").write_bytes((tmp_path / "policy.zip").read_bytes())
    given = [override.replace("CHECKSUM", checksum[:63]) for override in overrides]
    with pytest.raises(BuildError, match=words):
        gated(None, "parity.unpickle=true", *given)
    assert not (tmp_path / "ran").exists()


def test_build_switches_of_a_maskable_policy_are_the_pickles(gated: Gated, tmp_path: Path) -> None:
    make(MaskablePPO, WIDE, BINARY).save(tmp_path / "policy.zip")
    checksum = hashlib.sha256((tmp_path / "policy.zip").read_bytes()).hexdigest()
    built = gated(None, "parity.unpickle=true", f"served_model.sha256={checksum}", "parity.observations=64")
    assert isinstance(built.library, LibraryAgreement)


def test_build_space_read_wrongly_is_noticed_by_the_pickle(
    gated: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wider(actor: Actor) -> Actor:
        assert isinstance(actor.action, Box)
        return replace(actor, action=replace(actor.action, high=np.array([2, 50], np.float32)))

    read_with(monkeypatch, wider)
    make(SAC, WIDE, TWO).save(tmp_path / "policy.zip")
    checksum = hashlib.sha256((tmp_path / "policy.zip").read_bytes()).hexdigest()
    with pytest.raises(ParityError, match=r"unpickled, it has another action_space Box\(.*5"):
        gated(None, "parity.unpickle=true", f"served_model.sha256={checksum}")


def test_library_pickled_argument_is_not_unpickled(gated: Gated, tmp_path: Path) -> None:
    make(PPO, WIDE, TWO).save(tmp_path / "policy.zip")
    with_data(tmp_path / "policy.zip", {"policy_kwargs": {"ortho_init": "mine.init(3)"}})
    with pytest.raises(
        ParityError, match=r"mine.init\(3\) of the policy is in the file as a pickle only; name the int"
    ):
        gated(None)


def test_library_optimiser_state_that_would_run_code_is_refused(gated: Gated, tmp_path: Path) -> None:
    make(PPO, WIDE, TWO).save(tmp_path / "policy.zip")
    torch.save({"state": Touch(tmp_path / "ran")}, tmp_path / "state.pth")
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    contents["policy.optimizer.pth"] = (tmp_path / "state.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "policy.zip", "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    with pytest.raises(ParityError, match="does not load the checkpoint"):
        gated(None)
    assert not (tmp_path / "ran").exists()


def test_library_process_sees_no_secret_and_leaves_nothing(
    gated: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARINA_API_KEY", "secret")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    seen = tmp_path / "seen"
    gated(
        make(PPO, WIDE, TWO),
        interpreter(tmp_path / "python", f'(echo "$@"; pwd; env) >{seen}; exec {sys.executable} "$@"'),
        "parity.observations=16",
    )
    arguments, folder, *environment = seen.read_text().splitlines()
    assert arguments.startswith("-I ")
    assert not Path(folder).exists()
    assert f"HOME={folder}" in environment
    assert [line for line in environment if "MARINA" in line or "secret" in line or "PYTHONPATH" in line] == []


def test_library_process_that_hangs_is_killed_with_its_children(gated: Gated, tmp_path: Path) -> None:
    given = interpreter(tmp_path / "python", f"sleep 1000 & echo $! >{tmp_path / 'pid'}; wait")
    with pytest.raises(ParityError, match=r"did not answer within 2 s; raise parity.timeout_s"):
        gated(make(PPO, WIDE, TWO), given, "parity.timeout_s=2")
    started = Path("/proc") / (tmp_path / "pid").read_text().strip()
    wait_for(lambda: not started.exists() or "(zombie)" in (started / "status").read_text())


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("kill -9 $$", "does not load the checkpoint: exit status -9"),
        ("echo broken; exit 7", "does not load the checkpoint: broken"),
        (f'exec {sys.executable} -S "$@"', "parity.python: .*python has no stable_baselines3"),
    ],
    ids=["killed", "broken", "without the library"],
)
def test_library_process_that_fails_is_one_line(gated: Gated, tmp_path: Path, script: str, words: str) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        gated(make(PPO, WIDE, TWO), interpreter(tmp_path / "python", script))
    assert "\n" not in str(caught.value)


def test_library_interpreter_that_is_not_there_is_named(gated: Gated) -> None:
    with pytest.raises(BuildError, match=r"parity.python: /nowhere/python: No such file"):
        gated(make(PPO, WIDE, TWO), "parity.python=/nowhere/python")


def test_build_without_library_is_refused_if_required(
    gated: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(PPO, WIDE, TWO).save(tmp_path / "policy.zip")
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    built = gated(None, "parity.library=auto")
    reason = "stable_baselines3 is not installed here; install it, or set parity.python=PATH"
    assert str(built.library).startswith(f"own reconstruction only: {reason}")
    assert built.archive.card["parity"]["reference"].startswith("own reconstruction in torch ")
    with pytest.raises(BuildError, match=f"parity.library is required, but {reason}"):
        gated(None)


def test_build_bare_policy_is_not_asked_of_the_library(gated: Gated, tmp_path: Path) -> None:
    torch.save(make(PPO, WIDE, DISCRETE).policy.state_dict(), tmp_path / "policy.pth")
    bare = (
        f"served_model.checkpoint={tmp_path / 'policy.pth'}",
        "served_model.policy.activation=Tanh",
        "served_model.policy.observation_space='Box(-9, 9, (4,), float32)'",
        "served_model.policy.action_space='Discrete(4)'",
    )
    reason = "the library predicts with a .zip of model.save(), not with a bare policy.pth"
    assert str(gated(None, *bare, "parity.library=auto").library) == f"own reconstruction only: {reason}"
    with pytest.raises(BuildError, match=f"parity.library is required, but {re.escape(reason)}"):
        gated(None, *bare)


def test_build_of_a_picture_model_names_torchvision(compose: Compose) -> None:
    built = build(compose("digits", "served_model.weights=random"))
    assert built.library is None
    assert built.archive.card["parity"]["reference"].startswith("torchvision ")
    assert built.archive.card["parity"]["requests"] == built.parity.requests


def test_build_checkpoint_replaced_meanwhile_is_refused(
    gated: Gated, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = building.compare_with_library

    def late(*arguments: Any) -> Any:
        (tmp_path / "policy.zip").write_bytes(make_other.read_bytes())
        return honest(*arguments)

    make_other = tmp_path / "other.zip"
    make(PPO, WIDE, TWO, policy_kwargs={"net_arch": [5]}).save(make_other)
    monkeypatch.setattr(building, "compare_with_library", late)
    with pytest.raises(BuildError, match=r"policy.zip was changed while it was built"):
        gated(make(PPO, WIDE, TWO))


def compared(action: ActionSpace, ours: list[list[float]], theirs: list[list[list[float]]]) -> tuple[float, int]:
    """Compare answers to observations 0, 1, ..; `theirs` begins with the library's exact answers."""
    observations = {"observation": np.arange(len(ours), dtype=np.float32)[:, None]}
    space = unbounded_box(1)
    return library_parity.compare("m", (space, action), observations, np.array(ours), np.array(theirs), "2.9")


def test_compare_choice_within_the_librarys_rounding_passes() -> None:
    same, other = [[0.0], [1.0], [2.0], [3.0]], [[0.0], [1.0], [2.0], [4.0]]
    assert compared(Discrete(5, 0), same, [same, same]) == (0.0, 0)
    assert compared(Discrete(5, 0), other, [same, other]) == (0.0, 1)
    with pytest.raises(ParityError, match=r"1 of 4 .* first is number 3, \[3.0\]: the archive says \[4.0\], the lib"):
        compared(Discrete(5, 0), other, [same, same])


def test_compare_number_must_lie_within_the_tolerance_of_its_scale() -> None:
    action = Box((1,), np.dtype(np.float32), np.full(1, -300.0), np.full(1, 300.0))
    exact = [[0.0]] * 8
    assert compared(action, [[0.0029]] * 8, [exact, exact])[0] == pytest.approx(0.0029 / 300)
    with pytest.raises(ParityError, match="8 of 8"):
        compared(action, [[0.0031]] * 8, [exact, exact])
    with pytest.raises(ParityError, match="8 of 8"):
        compared(action, [[float("nan")]] * 8, [exact, exact])


def test_compare_number_that_rounding_moves_may_be_off_as_far() -> None:
    action = unbounded_box(1)
    exact, moved = [[0.0]] * 8, [[0.0]] * 7 + [[0.5]]
    assert compared(action, [[0.0]] * 7 + [[-0.4]], [exact, moved]) == (0.0, 1)
    with pytest.raises(ParityError, match="1 of 8"):
        compared(action, [[0.0]] * 7 + [[-0.6]], [exact, moved])


def test_compare_mostly_undecided_answers_are_refused() -> None:
    action = unbounded_box(1)
    exact, few, many = ([[0.0]] * (8 - hanging) + [[0.5]] * hanging for hanging in (0, 2, 3))
    assert compared(action, exact, [exact, few]) == (0.0, 2)
    with pytest.raises(ParityError, match=r"in 3 of 8 observations the library's own answer depends on the last digit"):
        compared(action, exact, [exact, many])


def test_compare_actions_of_another_size_are_refused() -> None:
    with pytest.raises(ParityError, match="an action has 1 numbers, the library's 2"):
        compared(Discrete(5, 0), [[0.0]], [[[0.0, 1.0]]])
