"""What a checkpoint does not say is stated in the YAML or refused, with the YAML to write."""

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from gymnasium import spaces
from sb3_contrib import QRDQN, TQC, CrossQ, MaskablePPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from errors import BuildError
from serialize.policy_loader import read_policy
from serialize.sb3 import read_actor
from serialize.sb3.policy_spaces import describe
from tests.serialize.sb3_cases import CARTPOLE, DISCRETE, MULTI, PICTURE, SMALL, SMALL_CNN, TWO, VIEW, WIDE
from tests.serialize.sb3_models import Space, box, make, samples, stored_in_short
from tests.serialize.sb3_parity import configured, served
from tests.serialize.test_sb3 import rewritten, settings_of

COUNT = 500
nn = torch.nn
RELU: dict[str, Any] = {"policy_kwargs": {"activation_fn": nn.ReLU, "net_arch": [32]}}
GSDE: dict[str, Any] = {"use_sde": True}


def stating(**values: Any) -> tuple[str, ...]:
    """Overrides that write `values` under served_model.policy."""
    return tuple(f"served_model.policy.{name}={json.dumps(value)}" for name, value in values.items())


def bare(model: BaseAlgorithm, folder: Path) -> Path:
    torch.save(model.policy.state_dict(), folder / "policy.pth")
    return folder / "policy.pth"


BARE: dict[str, tuple[type[BaseAlgorithm], Space, Space, dict[str, Any], dict[str, Any]]] = {
    "PPO ReLU": (PPO, WIDE, DISCRETE, RELU, {"activation": "ReLU"}),
    "PPO several choices": (PPO, WIDE, MULTI, {}, {"activation": "Tanh"}),
    "A2C clipped": (A2C, WIDE, box([-0.1, 0.0], [0.05, 0.2], (2,)), {}, {"activation": "Tanh"}),
    "PPO gSDE": (PPO, WIDE, TWO, GSDE, {"activation": "Tanh", "squash_output": False}),
    "PPO gSDE squashed": (
        *(PPO, WIDE, TWO, GSDE | {"policy_kwargs": {"squash_output": True}}),
        {"activation": "Tanh", "squash_output": True},
    ),
    "PPO whole number": (PPO, spaces.Discrete(6), DISCRETE, {}, {"activation": "Tanh"}),
    "PPO one layer": (PPO, WIDE, DISCRETE, {"policy_kwargs": {"net_arch": []}}, {}),
    "DQN": (DQN, CARTPOLE, DISCRETE, {}, {"activation": "ReLU"}),
    "QR-DQN": (QRDQN, SMALL, DISCRETE, {}, {"activation": "ReLU"}),
    "SAC": (SAC, SMALL, TWO, {}, {"activation": "ReLU"}),
    "SAC gSDE": (
        *(SAC, SMALL, TWO, GSDE | {"policy_kwargs": {"clip_mean": 0.1}}),
        {"activation": "ReLU", "clip_mean": 0.1},
    ),
    "TQC": (TQC, SMALL, TWO, {}, {"activation": "ReLU"}),
    "TD3": (TD3, SMALL, TWO, {}, {"activation": "ReLU"}),
    "CrossQ": (
        *(CrossQ, SMALL, TWO, {"policy_kwargs": {"batch_norm_eps": 0.5, "net_arch": [16]}}),
        {"activation": "ReLU", "batch_norm_eps": 0.5},
    ),
    "pictures": (PPO, PICTURE, DISCRETE, SMALL_CNN, {"normalize_images": True}),
}


@pytest.mark.parametrize("name", BARE)
def test_bare_policy_whose_yaml_says_the_rest_answers_as_predict(tmp_path: Path, name: str) -> None:
    algorithm, observation, action, arguments, stated = BARE[name]
    model = make(algorithm, observation, action, "CnnPolicy" if observation is PICTURE else "MlpPolicy", **arguments)
    words = {"observation_space": str(observation), "action_space": str(action)}
    source = read_policy(configured(*stating(**stated, **words)), bare(model, tmp_path))
    states = samples(observation, 40 if observation is PICTURE else COUNT)
    expected, _ = model.predict(states, deterministic=True)
    np.testing.assert_allclose(served(source, states)[0], expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", BARE)
def test_bare_policy_without_yaml_is_refused_with_yaml_to_write(tmp_path: Path, name: str) -> None:
    algorithm, observation, action, arguments, stated = BARE[name]
    model = make(algorithm, observation, action, "CnnPolicy" if observation is PICTURE else "MlpPolicy", **arguments)
    with pytest.raises(BuildError, match=r"a bare policy\.pth holds tensors alone") as caught:
        read_actor(bare(model, tmp_path), configured())
    shown = yaml.safe_load(str(caught.value).partition("(the values are only an example): ")[2])["policy"]
    # DQN's actions are one of as many as its last layer is wide.
    assert set(shown) == {*stated, "observation_space", "action_space"} - ({"action_space"} if name == "DQN" else set())
    # What it shows is written as it must be: with the right values it is read.
    right = {"observation_space": str(observation), "action_space": str(action)} | stated
    assert read_actor(tmp_path / "policy.pth", configured(*stating(**{key: right[key] for key in shown})))


def test_bare_policy_fields_and_actions_state_its_spaces(tmp_path: Path) -> None:
    path = bare(make(PPO, CARTPOLE, spaces.Discrete(2)), tmp_path)
    named = ("served_model.fields=[a,b,c,d]", "served_model.actions=[left,right]", *stating(activation="Tanh"))
    actor = read_actor(path, configured(*named))
    assert (describe(actor.observation), describe(actor.action)) == ("Box(-inf, inf, (4,), float32)", "Discrete(2)")
    bounds = "served_model.observation.bounds={low: -1, high: [1, 2, null, 4]}"
    assert describe(read_actor(path, configured(*named, bounds)).observation) == "Box(-1, [1 2 inf 4], (4,), float32)"


def test_parts_of_a_bare_policy_are_stated_as_gymnasium_prints_them(tmp_path: Path) -> None:
    model = make(PPO, VIEW, DISCRETE, "MultiInputPolicy")
    said = stating(
        activation="Tanh",
        normalize_images=True,
        action_space="Discrete(4)",
        observation_space=str(model.observation_space),
    )
    source = read_policy(configured(*said), bare(model, tmp_path))
    states = samples(VIEW, 40)
    assert served(source, states)[0] == model.predict(states, deterministic=True)[0].tolist()


@pytest.mark.parametrize(
    ("stated", "words"),
    [
        ({"action_space": "Discrete(5)"}, "gives 10 values, its action space Discrete(5) needs 5"),
        (
            {"action_space": "Box(-1.0, 1.0, (10,), float32)"},
            "its action space is Box(-1, 1, (10,), float32), and it has no",
        ),
        ({"observation_space": "Box(-1.0, 1.0, (5,), float32)"}, "takes 4 values, its observation has 5"),
        ({"activation": "Sine"}, "the activation Sine is not supported"),
        ({"action_space": "Dict('a': Discrete(2))"}, "the action space is a Dict"),
        ({"action_space": "Discrete"}, "policy.action_space: 'Discrete' is not read"),
        ({"observation_space": "Box(-1.0, 1.0, (4,)"}, "policy.observation_space: 'Box(-1.0, 1.0, (4,)' is not read"),
        ({"observation_space": "Tuple(Discrete(2))"}, "is a Tuple space"),
        ({"observation_space": "Box(1.0, -1.0, (4,), float32)"}, "has a low above its high"),
    ],
)
def test_statement_that_does_not_fit_is_refused(tmp_path: Path, stated: dict[str, Any], words: str) -> None:
    right = {"activation": "Tanh", "observation_space": str(WIDE), "action_space": str(MULTI)}
    with pytest.raises(BuildError, match=re.escape(words)):
        read_actor(bare(make(PPO, WIDE, MULTI), tmp_path), configured(*stating(**right | stated)))


@pytest.mark.parametrize(
    ("arguments", "stated", "words"),
    [
        ({}, {"activation": "ReLU"}, "its activation is Tanh, served_model.policy.activation is ReLU"),
        (RELU, {"activation": "Tanh"}, "its activation is ReLU, served_model.policy.activation is Tanh"),
        (
            {},
            {"action_space": "Discrete(3)"},
            "its action space is Discrete(4), served_model.policy.action_space is Discrete(3)",
        ),
        (
            {},
            {"observation_space": "Box(-1.0, 1.0, (4,), float32)"},
            "its observation space is Box(-9, 9, (4,), float32)",
        ),
        ({}, {"squash_output": True}, "squash_output is False, served_model.policy.squash_output is True"),
    ],
)
def test_file_and_yaml_that_disagree_are_refused_with_both_values(
    tmp_path: Path, arguments: dict[str, Any], stated: dict[str, Any], words: str
) -> None:
    make(PPO, WIDE, DISCRETE, **arguments).save(tmp_path / "p.zip")
    with pytest.raises(BuildError, match=re.escape(words)):
        read_actor(tmp_path / "p.zip", configured(*stating(**stated)))


def test_bare_maskable_ppo_switches_are_choices_of_two(tmp_path: Path) -> None:
    model = make(MaskablePPO, WIDE, spaces.MultiBinary(3))
    said = {"activation": "Tanh", "observation_space": str(WIDE)}
    path = bare(model, tmp_path)
    with pytest.raises(BuildError, match=r"state MultiDiscrete\(\[2 2 2\]\) for MaskablePPO"):
        read_actor(path, configured(*stating(**said, action_space="MultiBinary(3)")))
    source = read_policy(configured(*stating(**said, action_space="MultiDiscrete([2 2 2])")), path)
    states = samples(WIDE, COUNT)
    assert served(source, states)[0] == model.predict(states, deterministic=True)[0].tolist()


def test_file_and_yaml_that_agree_are_read(tmp_path: Path) -> None:
    make(PPO, CARTPOLE, DISCRETE, **RELU).save(tmp_path / "p.zip")
    said = stating(activation="ReLU", observation_space=str(CARTPOLE), action_space="Discrete(4)", squash_output=False)
    assert read_actor(tmp_path / "p.zip", configured(*said)).activation == "ReLU"


@pytest.mark.parametrize("version", ["3.0.0", "2.10.0", "0.11.1", "", None])
def test_defaults_of_an_unknown_version_are_stated_or_refused(tmp_path: Path, version: str | None) -> None:
    make(PPO, WIDE, DISCRETE).save(tmp_path / "made.zip")
    stored = {"_stable_baselines3_version": None if version is None else version.encode()}
    path = rewritten(tmp_path / "made.zip", tmp_path / "p.zip", stored)
    with pytest.raises(
        BuildError, match=r"whose defaults are not known here, and activation decides.*policy: \{activation: Tanh\}"
    ):
        read_actor(path, configured())
    assert read_actor(path, configured(*stating(activation="ReLU"))).activation == "ReLU"


@pytest.mark.parametrize("version", ["1.0", "1.5.1a6", "1.8.0", "2.3.2", "2.9.2"])
def test_defaults_of_a_known_version_need_no_statement(tmp_path: Path, version: str) -> None:
    make(PPO, WIDE, DISCRETE).save(tmp_path / "made.zip")
    path = rewritten(tmp_path / "made.zip", tmp_path / "p.zip", {"_stable_baselines3_version": version.encode()})
    assert read_actor(path, configured()).activation == "Tanh"


EXTRA: dict[str, tuple[type[BaseAlgorithm], str]] = {
    "lstm_actor.weight_ih_l0": (PPO, "MlpPolicy"),
    "mlp_extractor.policy_net.1.weight": (PPO, "MlpPolicy"),
    "mlp_extractor.policy_net.5.weight": (PPO, "MlpPolicy"),
    "mlp_extractor.policy_net.0.scale": (PPO, "MlpPolicy"),
    "action_net.scale": (PPO, "MlpPolicy"),
    "features_extractor.linear.weight": (PPO, "MlpPolicy"),
    "q_net.dueling.weight": (DQN, "MlpPolicy"),
    "quantile_net.embedding.weight": (QRDQN, "MlpPolicy"),
    "actor.latent_pi.1.scale": (SAC, "MlpPolicy"),
    "actor.norm.weight": (TD3, "MlpPolicy"),
    "actor.latent_pi.7.scale": (CrossQ, "MlpPolicy"),
    "lstm.bias": (MaskablePPO, "MlpPolicy"),
}


@pytest.mark.parametrize("name", EXTRA)
def test_tensor_that_nothing_reads_refuses_the_build_and_is_named(tmp_path: Path, name: str) -> None:
    algorithm, policy = EXTRA[name]
    action = TWO if algorithm in (SAC, TD3, CrossQ) else DISCRETE
    model = make(algorithm, SMALL, action, policy, policy_kwargs={"net_arch": [8, 8]})
    model.save(tmp_path / "made.zip")
    state = {**model.policy.state_dict(), name: torch.zeros(3)}
    torch.save(state, tmp_path / "policy.pth")
    path = rewritten(tmp_path / "made.zip", tmp_path / "p.zip", {"policy.pth": (tmp_path / "policy.pth").read_bytes()})
    with pytest.raises(BuildError, match=re.escape(name.removesuffix(".weight"))):
        read_actor(path, configured())


def test_extractor_stored_twice_with_other_numbers_is_refused(tmp_path: Path) -> None:
    model = make(PPO, PICTURE, DISCRETE, "CnnPolicy", **SMALL_CNN)
    model.save(tmp_path / "made.zip")
    state = {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}
    state["features_extractor.linear.0.bias"] += 1
    torch.save(state, tmp_path / "policy.pth")
    path = rewritten(tmp_path / "made.zip", tmp_path / "p.zip", {"policy.pth": (tmp_path / "policy.pth").read_bytes()})
    with pytest.raises(BuildError, match=r"features_extractor.linear.0.bias is not the same as pi_features_extractor"):
        read_actor(path, configured())


@pytest.mark.parametrize(("number", "where"), [(float("nan"), ""), (1e300, "in 32 bits: ")])
def test_weight_that_is_not_finite_is_named(tmp_path: Path, number: float, where: str) -> None:
    state = {name: tensor.double() for name, tensor in make(PPO, WIDE, DISCRETE).policy.state_dict().items()}
    state["mlp_extractor.policy_net.2.bias"][3] = number
    torch.save(state, tmp_path / "policy.pth")
    with pytest.raises(BuildError, match=rf"policy.pth: {where}mlp_extractor.policy_net.2.bias has 1 of 64 numbers"):
        read_actor(tmp_path / "policy.pth", configured())


LONG = np.linspace(1, 3, 1080, dtype=np.float32)


def long_policy(folder: Path, space: Space) -> tuple[BaseAlgorithm, Path]:
    model = make(PPO, space, TWO, policy_kwargs={"net_arch": [8]})
    model.save(folder / "p.zip")
    return model, folder / "p.zip"


def test_stored_abbreviated_bounds_are_refused_with_yaml_to_write(tmp_path: Path) -> None:
    _, path = long_policy(tmp_path, spaces.Box(-LONG, LONG))
    with pytest.raises(
        BuildError, match=r"1080 numbers, of whose bounds its text shows only the first and the last"
    ) as caught:
        read_actor(path, configured())
    shown = (
        str(caught.value).partition("(the values are only an example): ")[2].partition("; or as bounds: FILE.npz")[0]
    )
    assert yaml.safe_load(shown) == {"observation": {"bounds": {"low": -1, "high": 1}}}


@pytest.mark.parametrize("form", ["npz", "json", "settings"])
def test_bounds_stated_in_the_yaml_are_those_of_the_space(tmp_path: Path, form: str) -> None:
    space = spaces.Box(-LONG, LONG)
    model, path = long_policy(tmp_path, space)
    np.savez(tmp_path / "bounds.npz", low=space.low, high=space.high)
    lists = json.dumps({"low": space.low.astype(float).tolist(), "high": space.high.astype(float).tolist()})
    (tmp_path / "bounds.json").write_text(lists)
    given = lists.replace('"', "") if form == "settings" else str(tmp_path / f"bounds.{form}")
    source = read_policy(configured(f"served_model.observation.bounds={given}"), path)
    assert source.card["observation"]["space"]["high"] == LONG.astype(float).tolist()
    states = samples(space, COUNT)
    np.testing.assert_allclose(
        served(source, states)[0], model.predict(states, deterministic=True)[0], rtol=0, atol=1e-5
    )


@pytest.mark.parametrize("stated", ["observation_space", "action_space"])
def test_parse_space_abbreviated_bounds_are_refused(tmp_path: Path, stated: str) -> None:
    model = make(PPO, WIDE, TWO)
    right = {"activation": "Tanh", "observation_space": str(WIDE), "action_space": str(TWO)}
    cut = {stated: "Box([0 0 0 ... 0 0 0], 1, (1080,), float32)"}
    wanted = "observation: \\{bounds: " if stated == "observation_space" else "served_model.policy.action_space$"
    with pytest.raises(BuildError, match=f"its text shows only the first and the last.*{wanted}"):
        read_actor(bare(model, tmp_path), configured(*stating(**right | cut)))


@pytest.mark.parametrize(
    ("bounds", "words"),
    [
        ("{low: -1, high: 1}", "its observations have a low of [-1."),
        ("{low: null, high: null}", "its observations have a low of [-1."),
        ("{low: [1, 2], high: 1}", "low has 2 numbers, the observation 1080"),
        ("{speed: {low: 0, high: 1}}", "bounds.speed: the observation has no parts; give low and high alone"),
        ("/nowhere/bounds.npz", "No such file"),
    ],
)
def test_bounds_contradicting_the_file_are_refused(tmp_path: Path, bounds: str, words: str) -> None:
    _, path = long_policy(tmp_path, spaces.Box(-LONG, LONG))
    with pytest.raises(BuildError, match=re.escape(words)):
        read_actor(path, configured(f"served_model.observation.bounds={bounds}"))


def test_equal_bounds_stored_in_short_need_no_statement(tmp_path: Path) -> None:
    _, path = long_policy(tmp_path, stored_in_short(box(0, 30, (1080,))))
    assert describe(read_actor(path, configured()).observation) == "Box(0, 30, (1080,), float32)"


def test_bounds_of_a_part_are_stated_by_its_name(tmp_path: Path) -> None:
    space = spaces.Dict({"scan": spaces.Box(-LONG, LONG), "speed": SMALL})
    make(PPO, space, DISCRETE, "MultiInputPolicy").save(tmp_path / "p.zip")
    with pytest.raises(
        BuildError, match=r"of its part scan.*bounds: \{scan: \{low: -1, high: 1\}\}.*scan.low and scan.high"
    ):
        read_actor(tmp_path / "p.zip", configured())
    with pytest.raises(BuildError, match="the observation has parts; give the bounds of each under its name"):
        read_actor(tmp_path / "p.zip", configured("served_model.observation.bounds={low: -1, high: 1}"))
    ends: dict[str, Any] = {"scan.low": -LONG, "scan.high": LONG}
    np.savez(tmp_path / "bounds.npz", **ends)
    found = read_policy(configured(f"served_model.observation.bounds={tmp_path / 'bounds.npz'}"), tmp_path / "p.zip")
    assert found.card["observation"]["space"]["spaces"][0]["space"]["low"] == (-LONG.astype(float)).tolist()


def test_large_picture_that_no_convolution_sees_needs_its_bounds(tmp_path: Path) -> None:
    model = make(PPO, spaces.Box(0, 255, (3, 40, 40), np.uint8), DISCRETE)
    model.save(tmp_path / "p.zip")
    with pytest.raises(BuildError, match="its text shows only the first and the last"):
        read_actor(tmp_path / "p.zip", configured())
    source = read_policy(configured("served_model.observation.bounds={low: 0, high: 255}"), tmp_path / "p.zip")
    states = samples(model.observation_space, COUNT)
    assert served(source, states)[0] == model.predict(states, deterministic=True)[0].tolist()


def test_large_picture_that_a_convolution_sees_is_one_of_bytes(tmp_path: Path) -> None:
    space = spaces.Box(0, 255, (3, 36, 36), np.uint8)
    make(PPO, space, DISCRETE, "CnnPolicy", **SMALL_CNN).save(tmp_path / "p.zip")
    data = settings_of(tmp_path / "p.zip")
    assert "..." in data["observation_space"]["low"]
    assert data["observation_space"]["low_repr"] is None
    assert describe(read_actor(tmp_path / "p.zip", configured()).observation) == "Box(0, 255, (3, 36, 36), uint8)"


def test_zip_without_policy_pth_is_read_as_tensors(tmp_path: Path) -> None:
    path = bare(make(PPO, CARTPOLE, DISCRETE), tmp_path)
    assert zipfile.is_zipfile(path)  # as torch.save writes since 1.6
    state = torch.load(path, weights_only=True)
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    said = stating(activation="Tanh", observation_space=str(CARTPOLE), action_space="Discrete(4)")
    assert read_actor(tmp_path / "old.pth", configured(*said)).widths == [4, 64, 64, 4]
