"""A policy that is read without unpickling answers as Stable-Baselines3's own `predict` does."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium import spaces
from stable_baselines3 import PPO

from errors import BuildError
from serialize.policy_loader import read_policy
from serialize.sb3 import read_actor
from serialize.sb3.policy_spaces import space_card
from settings.schema import PolicyModel
from tests.serialize.conftest import Compose
from tests.serialize.sb3_cases import CARTPOLE, CASES, MATRIX, is_slow
from tests.serialize.sb3_models import make
from tests.serialize.sb3_parity import Compared, compare, configured

COUNT = 10_000
FEW = 300
nn = torch.nn


@pytest.fixture(scope="module")
def model() -> PolicyModel:
    return configured()


def agree(found: Compared) -> None:
    """Continuous actions within 1e-5, discrete ones equal but for near ties, of which there are hardly any."""
    assert found.deviation <= 1e-5
    assert found.wrong == 0
    assert found.ties <= found.observations / 1000


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not is_slow(case)])
def test_answers_are_those_of_predict(tmp_path: Path, name: str) -> None:
    agree(compare(CASES[name], tmp_path, COUNT if name in MATRIX else COUNT // 10))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if is_slow(case)])
def test_answers_to_pictures_are_those_of_predict(tmp_path: Path, name: str) -> None:
    agree(compare(CASES[name], tmp_path, FEW))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_ten_thousand_answers_are_those_of_predict(tmp_path: Path, name: str) -> None:
    agree(compare(CASES[name], tmp_path, COUNT))


def test_the_value_network_is_left_out(model: PolicyModel, tmp_path: Path) -> None:
    make(PPO, CARTPOLE, spaces.Discrete(2)).save(tmp_path / "policy.zip")
    network = read_policy(model, tmp_path / "policy.zip").network
    assert sum(weight.numel() for weight in network.parameters()) == 4 * 64 + 64 + 64 * 64 + 64 + 64 * 2 + 2


def rewritten(path: Path, target: Path, files: dict[str, bytes | None]) -> Path:
    """The same .zip with some files replaced, or left out for None."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        contents = {name: old.read(name) for name in old.namelist()}
        for name, data in (contents | files).items():
            if data is not None:
                new.writestr(name, data)
    return target


def settings_of(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        return dict(json.loads(archive.read("data")))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "policy.zip"
    make(PPO, CARTPOLE, spaces.Discrete(2)).save(path)
    return path


def test_nothing_is_unpickled(saved: Path, tmp_path: Path) -> None:
    data = settings_of(saved)
    for value in data.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = "bm90IGEgcGlja2xl"  # base64 of something else
    path = rewritten(saved, tmp_path / "p.zip", {"data": json.dumps(data).encode(), "pytorch_variables.pth": b"?"})
    assert read_actor(path, configured()).widths == [4, 64, 64, 2]


def test_the_format_of_version_1_5_is_read(saved: Path, tmp_path: Path) -> None:
    """gym's spaces instead of gymnasium's, settings that were plain JSON, and a layer shared by both halves."""
    data = settings_of(saved)
    data["observation_space"] = {
        ":type:": "<class 'gym.spaces.box.Box'>",
        "dtype": "float32",
        "low": "[-4.8000002e+00 -3.4028235e+38 -4.1887903e-01 -3.4028235e+38]",
        "high": "[4.8000002e+00 3.4028235e+38 4.1887903e-01 3.4028235e+38]",
        "_shape": "[4]",
    }
    data["action_space"] = {":type:": "<class 'gym.spaces.discrete.Discrete'>", "n": "2", "_shape": "[]"}
    data["policy_kwargs"] = {}
    torch.manual_seed(0)
    names = {"shared_net.0": (9, 4), "policy_net.0": (8, 9), "value_net.0": (7, 9)}
    state: dict[str, torch.Tensor] = {}
    for name, shape in names.items():
        state[f"mlp_extractor.{name}.weight"], state[f"mlp_extractor.{name}.bias"] = (
            torch.rand(shape),
            torch.rand(shape[0]),
        )
    state |= {"action_net.weight": torch.rand(2, 8), "action_net.bias": torch.rand(2)}
    state |= {"value_net.weight": torch.rand(1, 7), "value_net.bias": torch.rand(1)}
    weights = io.BytesIO()
    torch.save(state, weights)
    files: dict[str, bytes | None] = {"data": json.dumps(data).encode(), "policy.pth": weights.getvalue()}

    actor = read_actor(rewritten(saved, tmp_path / "p.zip", files), configured())

    assert actor.widths == [4, 9, 8, 2]
    assert actor.activation == "Tanh"
    assert space_card(actor.observation)["high"] == pytest.approx([4.8, 3.4028235e38, 0.41887903, 3.4028235e38])


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("observation_space", {":type:": "<class 'gymnasium.spaces.dict.Dict'>"}, "only unpickling could read"),
        (
            "observation_space",
            {":type:": "<class 'gymnasium.spaces.tuple.Tuple'>"},
            "is a Tuple space",
        ),
        ("observation_space", {":type:": "<class 'gymnasium.spaces.box.Box'>"}, "only unpickling could read"),
        ("observation_space", None, "observation space is a nameless space"),
        ("action_space", {":type:": "<class 'gymnasium.spaces.discrete.Discrete'>", "n": "7"}, "needs 7"),
        ("policy_kwargs", {"activation_fn": "<class 'mine.Sine'>"}, "activation <class 'mine.Sine'> is not supported"),
        ("policy_kwargs", {"activation_fn": "<class 'torch.nn.modules.activation.PReLU'>"}, "PReLU"),
        ("policy_kwargs", {"features_extractor_class": "<class 'mine.Eyes'>"}, "feature extractor <class 'mine.Eyes'>"),
        ("policy_kwargs", {"features_extractor_class": "<class 'mine.FlattenExtractor'>"}, "could only be unpickled"),
        ("policy_kwargs", [1], "not a JSON object"),
        ("policy_kwargs", {"temperature": 2}, "temperature, whose effect on the actions is not known here"),
        ("policy_kwargs", {"squash_output": "maybe"}, "squash_output is maybe, neither True nor False"),
        (
            "policy_class",
            {"__module__": "sb3_contrib.ars.policies"},
            "ars.policies, which is not supported",
        ),
        ("policy_class", None, "does not name the policy's class"),
        ("policy_class", {"__module__": "__main__"}, "class is one of __main__, whose code could only be unpickled"),
    ],
)
def test_read_actor_refuses_what_only_a_pickle_holds(
    saved: Path, tmp_path: Path, key: str, value: Any, words: str
) -> None:
    data = settings_of(saved) | {key: value}
    path = rewritten(saved, tmp_path / "p.zip", {"data": json.dumps(data).encode()})
    with pytest.raises(BuildError, match=words) as caught:
        read_actor(path, configured())
    assert str(path) in str(caught.value)


def test_weights_that_would_run_code_are_refused(saved: Path, tmp_path: Path) -> None:
    weights = io.BytesIO()
    torch.save(nn.Linear(2, 2), weights)
    path = rewritten(saved, tmp_path / "p.zip", {"policy.pth": weights.getvalue()})
    with pytest.raises(BuildError, match=r"holds torch.nn.modules.linear.Linear, which could only be unpickled"):
        read_actor(path, configured())


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "picture.pth")
    with pytest.raises(BuildError, match=r"no policy of PPO.* has tensors named conv1\.weight"):
        read_actor(tmp_path / "picture.pth", configured())


def test_names_that_do_not_fit_the_policy_are_refused(compose: Compose, saved: Path) -> None:
    for override, words in (
        ("served_model.fields=[a,b]", "names 2 numbers, an observation has shape"),
        ("served_model.actions=[a,b,c]", "names 3 actions, the policy has 2"),
    ):
        configured = compose("cartpole", override).served_model
        assert isinstance(configured, PolicyModel)
        with pytest.raises(BuildError, match=words):
            read_policy(configured, saved)
