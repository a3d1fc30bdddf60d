"""Policies of every kind of observation as whole archives: built, checked against the golden answers, and asked."""

import base64
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces
from PIL import Image
from sb3_contrib import CrossQ
from stable_baselines3 import DQN, PPO, SAC, TD3
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

from archive import Archive
from errors import BuildError, EdgeError
from handlers.errors import RequestError
from handlers.model_handler import ModelHandler
from serialize.build import build
from serialize.offline_handler import running_handler
from tests.edge import archives
from tests.serialize.conftest import Compose
from tests.serialize.sb3_cases import DISCRETE, PARTS, PICTURE, SMALL, SMALL_CNN, TWO, VIEW, WIDE
from tests.serialize.sb3_models import Space, Spaces, make, samples

Make = Callable[..., tuple[Any, Archive, ModelHandler]]
FEW = 50
PLAIN = ("served_model.fields=null", "served_model.actions=null", "served_model.policy.activation=null")


@pytest.fixture
def made(compose: Compose, tmp_path: Path) -> Make:
    """A model of the library, its archive, and the handler that answers for it."""

    def build_it(model: Any, *overrides: str) -> tuple[Any, Archive, ModelHandler]:
        model.save(tmp_path / "policy.zip")
        checkpoint = f"served_model.checkpoint={tmp_path / 'policy.zip'}"
        archive = build(compose("cartpole", checkpoint, *PLAIN, *overrides)).archive
        with zipfile.ZipFile(archive.path) as source:
            source.extractall(tmp_path / "unpacked")
        return model, archive, running_handler(tmp_path / "unpacked", "policy_handler.py")

    return build_it


def ask(handler: ModelHandler, body: Any) -> list[Any]:
    read = handler.read(body, "application/json")
    outputs = {**handler.forward(read.inputs), **read.options}
    return [each["action"] for each in handler.card.predictions(outputs)]


def refused(handler: ModelHandler, body: Any) -> str:
    with pytest.raises(RequestError) as caught:
        ask(handler, body)
    return f"{caught.value.status} {caught.value.detail}"


def png(pixels: Any) -> str:
    stored = io.BytesIO()
    Image.fromarray(pixels).save(stored, "PNG")
    return base64.b64encode(stored.getvalue()).decode()


def test_a_picture_may_come_in_every_form(made: Make) -> None:
    model, archive, handler = made(make(PPO, PICTURE, DISCRETE, "CnnPolicy", **SMALL_CNN))
    pictures = samples(PICTURE, FEW)
    expected = model.predict(pictures, deterministic=True)[0].tolist()
    first, turned = pictures[0], pictures[0].transpose(1, 2, 0)
    assert ask(handler, {"instances": pictures.tolist()}) == expected
    assert ask(handler, pictures.tolist()) == expected
    for one in (
        first.tolist(),
        turned.tolist(),
        png(turned),
        f"data:image/png;base64,{png(turned)}",
        {"b64": base64.b64encode(first.tobytes()).decode()},
    ):
        assert ask(handler, {"observation": one}) == expected[:1]
        assert ask(handler, {"instances": [one, first.tolist()]}) == expected[:1] * 2
    assert archive.size < 2_000_000
    with pytest.raises(EdgeError, match="reads images through convolutions, which the edge does not compile"):
        archives.policy(archive.path)


PICTURES: dict[str, tuple[Any, str]] = {
    "another-size": (png(np.zeros((36, 37, 3), np.uint8)), "422 the picture is 37 x 36, not 36 x 36"),
    "no-picture": (base64.b64encode(b"nothing of a picture").decode(), "400 not a picture that can be read"),
    "cut": (png(np.zeros((36, 36, 3), np.uint8))[:60], "400 the picture is truncated or damaged"),
    "no-base64": ("what?", "400 the picture's base64 is broken"),
    "empty": ("", "400 the picture is empty"),
    "bytes-too-few": ({"b64": "AAAA"}, "422 a picture of shape [3, 36, 36] has 3888 bytes, not 3"),
    "bytes-are-a-number": ({"b64": 7}, "422 b64 must be text"),
    "above-255": (np.full(PICTURE.shape, 256).tolist(), "422 observation[0, 0, 0] is 256, outside of 0 to 255"),
    "broken-number": (np.full(PICTURE.shape, 0.5).tolist(), "422 the observation must hold whole numbers"),
    "another-shape": ([[1, 2], [3, 4]], "422 an observation has shape [3, 36, 36]"),
}


def test_a_picture_that_is_none_is_refused_with_its_reason(made: Make) -> None:
    _, _, handler = made(make(PPO, PICTURE, DISCRETE, "CnnPolicy", **SMALL_CNN))
    for body, words in PICTURES.values():
        assert words in refused(handler, {"observation": body})


def rows(observations: Any, count: int) -> list[dict[str, Any]]:
    return [{key: values[index].tolist() for key, values in observations.items()} for index in range(count)]


@pytest.mark.parametrize("form", ["onnx", pytest.param("torchscript", marks=pytest.mark.slow), "eager"])
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_parts_are_objects(made: Make, form: str) -> None:
    model, archive, handler = made(make(SAC, VIEW, TWO, "MultiInputPolicy"), f"served_model.artifact={form}")
    observations = samples(VIEW, FEW)
    expected = model.predict(observations, deterministic=True)[0]
    states = rows(observations, FEW)
    np.testing.assert_allclose(ask(handler, {"instances": states}), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(ask(handler, states[0]), expected[:1], rtol=0, atol=1e-5)
    camera = {"b64": base64.b64encode(observations["camera"][0].tobytes()).decode()}
    np.testing.assert_allclose(ask(handler, {"observation": states[0] | {"camera": camera}}), expected[:1], atol=1e-5)
    drawn = {"instances": states, "deterministic": False, "seed": 1}
    assert ask(handler, drawn) == ask(handler, drawn)
    assert np.abs(np.array(ask(handler, drawn)) - expected).max() > 0.1
    with pytest.raises(EdgeError, match="combines observations of several parts, which the edge does not compile"):
        archives.policy(archive.path)


@pytest.mark.parametrize("form", ["onnx", pytest.param("torchscript", marks=pytest.mark.slow), "eager"])
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
def test_crossq_answers_with_its_renormalisations(made: Make, form: str) -> None:
    small: dict[str, Any] = {"policy_kwargs": {"net_arch": {"pi": [32, 32], "qf": [8]}}}
    model, archive, handler = made(make(CrossQ, WIDE, TWO, **small), f"served_model.artifact={form}")
    states = samples(WIDE, FEW)
    expected = model.predict(states, deterministic=True)[0]
    np.testing.assert_allclose(ask(handler, {"instances": states.tolist()}), expected, rtol=0, atol=1e-5)
    with pytest.raises(EdgeError, match="has renorm, which the edge does not compile"):
        archives.policy(archive.path)


GOAL = spaces.Dict({"achieved_goal": SMALL, "desired_goal": SMALL, "observation": WIDE})


@pytest.mark.parametrize(("algorithm", "action"), [(SAC, TWO), (TD3, TWO), (DQN, DISCRETE)])
def test_goal_conditioned_policies_answer_as_predict(made: Make, algorithm: Any, action: Space) -> None:
    model, archive, handler = made(make(algorithm, GOAL, action, "MultiInputPolicy", policy_kwargs={"net_arch": [16]}))
    observations = samples(GOAL, FEW)
    expected = model.predict(observations, deterministic=True)[0]
    states = rows(observations, FEW)
    for body, wanted in (
        ({"instances": states}, expected),
        (states[0], expected[:1]),
        ({"observation": states[0], "deterministic": True}, expected[:1]),
    ):
        np.testing.assert_allclose(ask(handler, body), wanted, rtol=0, atol=1e-5)
    golden = [json.loads(base64.b64decode(sample["body"])) for sample in archive.golden["samples"]]
    assert [set(body) for body in golden] == [set(GOAL.spaces)] * 3 + [{"instances"}]


@pytest.mark.parametrize("keys", [("instances",), ("observation",), ("instances", "observation"), ("seed", "x")])
def test_parts_may_have_any_name(made: Make, keys: tuple[str, ...]) -> None:
    space = spaces.Dict(dict.fromkeys(keys, SMALL))
    model, _, handler = made(make(PPO, space, DISCRETE, "MultiInputPolicy"))
    observations = samples(space, FEW)
    expected = model.predict(observations, deterministic=True)[0].tolist()
    assert ask(handler, {"instances": rows(observations, FEW)}) == expected


def test_parts_that_are_wrong_are_named(made: Make) -> None:
    _, archive, handler = made(make(PPO, PARTS, DISCRETE, "MultiInputPolicy"))
    assert [part["key"] for part in archive.card["observation"]["space"]["spaces"]] == list(PARTS.spaces)
    (good,) = rows(samples(PARTS, 1), 1)
    assert len(ask(handler, good | {"gear": 3})) == 1
    for change, words in (
        ({"speed": [5, 0]}, "422 speed[0] is 5, outside of -1 to 1"),
        ({"gear": 4}, "422 gear[0] is 4, outside of 0 to 3"),
        ({"gear": 1.5}, "422 the gear must hold whole numbers"),
        ({"lights": [0, 1, 2]}, "422 lights[2] is 2, outside of 0 to 1"),
        ({"seats": [0]}, "422 seats: an observation has shape [2]"),
        ({"grid": "no"}, "422 grid: must be an array of shape [2, 2]"),
        ({"extra": 1}, "422 unknown part: extra; the parts are gear, grid, lights, seats, speed"),
    ):
        assert words in refused(handler, good | change)
        assert f"422 instances[1]: {words[4:]}" in refused(handler, {"instances": [good, good | change]})
    assert "422 missing part: gear" in refused(handler, {key: good[key] for key in good if key != "gear"})
    assert "422 an observation must be an object of the parts" in refused(handler, [1, 2])


def test_parts_outside_are_clipped_where_that_is_asked_for(made: Make) -> None:
    _, _, handler = made(make(PPO, PARTS, DISCRETE, "MultiInputPolicy"), "served_model.out_of_range=clip")
    (good,) = rows(samples(PARTS, 1), 1)
    assert ask(handler, good | {"gear": 9, "speed": [7, 0]}) == ask(handler, good | {"gear": 3, "speed": [1, 0]})


def test_whole_numbers_need_no_list(made: Make) -> None:
    model, _, handler = made(make(PPO, spaces.Discrete(6), DISCRETE))
    numbers = np.arange(6)
    expected = model.predict(numbers, deterministic=True)[0].tolist()
    assert ask(handler, {"instances": numbers.tolist()}) == expected
    assert ask(handler, {"observation": 4}) == [expected[4]]
    assert ask(handler, [4]) == [expected[4]]
    assert "observation[0] is 6, outside of 0 to 5" in refused(handler, {"observation": 6})
    assert "an observation must be" in refused(handler, {"observation": True})


def normalized(observation: Space) -> VecNormalize:
    """A VecNormalize that has seen observations far from 0, some of them constant."""
    env = VecNormalize(DummyVecEnv([lambda: Spaces(observation, DISCRETE)]), clip_obs=1.5, epsilon=1e-6)
    scale = np.array([1000.0, 1e-3, 1.0, 0.0], np.float32)
    seen: Any = env.obs_rms
    for seed in range(5):
        seen.update(np.random.default_rng(seed).normal(5, 1, (64, 4)) * scale + 1e4 * scale)
    return env


@pytest.mark.parametrize("form", ["settings", "npz", "json"])
def test_raw_observations_are_normalised_as_vecnormalize_does(made: Make, tmp_path: Path, form: str) -> None:
    space = spaces.Box(-np.inf, np.inf, (4,), np.float32)
    env = normalized(space)
    seen: Any = env.obs_rms
    figures = {"mean": seen.mean, "var": seen.var, "epsilon": env.epsilon, "clip": env.clip_obs}
    plain = {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in figures.items()}
    np.savez(tmp_path / "figures.npz", **figures)
    (tmp_path / "figures.json").write_text(json.dumps(plain))
    given = json.dumps(plain).replace('"', "") if form == "settings" else str(tmp_path / f"figures.{form}")
    overrides = (f"served_model.observation.normalization={given}", "served_model.artifact=onnx")
    model, archive, handler = made(make(PPO, space, DISCRETE), *overrides)
    scale = np.array([1000.0, 1e-3, 1.0, 1.0])
    raw = ((np.random.default_rng(9).normal(5, 2, (2000, 4)) + 1e4) * scale).astype(np.float32)
    expected = model.predict(env.normalize_obs(raw), deterministic=True)[0].tolist()
    assert ask(handler, {"instances": raw.tolist()}) == expected
    assert len(set(expected)) > 1
    assert archives.policy(archive.path).normalization is not None
    command = archive.card["provenance"]["command"]
    assert "served_model.observation.normalization" in command
    assert str(tmp_path) not in command


def test_a_part_is_normalised_by_its_own_figures(made: Make) -> None:
    figures = "{speed: {mean: [0.5, 1.0], var: [4.0, 0.25]}}"
    model, _, handler = made(
        make(PPO, PARTS, DISCRETE, "MultiInputPolicy"), f"served_model.observation.normalization={figures}"
    )
    observations = samples(PARTS, FEW)
    speed = np.clip((observations["speed"] - np.array([0.5, 1.0])) / np.sqrt(np.array([4.0, 0.25]) + 1e-8), -10, 10)
    changed = observations | {"speed": speed.astype(np.float32)}
    assert (
        ask(handler, {"instances": rows(observations, FEW)}) == model.predict(changed, deterministic=True)[0].tolist()
    )


@pytest.mark.parametrize(
    ("figures", "words"),
    [
        ("{mean: [0, 0], var: [1, 1]}", "mean has 2 numbers, the observation 4"),
        ("{mean: [0, 0, 0, 0], var: [1, 1, -1, 1]}", "var . epsilon must be positive"),
        ("{mean: [0, 0, 0, 0], var: [0, 1, 1, 1], epsilon: 0}", "var . epsilon must be positive"),
        ("{speed: {mean: [0], var: [1]}}", "figures by part are for an observation of parts"),
        ("/nowhere/figures.npz", "No such file"),
    ],
)
def test_figures_that_do_not_fit_are_refused(made: Make, figures: str, words: str) -> None:
    with pytest.raises(BuildError, match=words):
        made(make(PPO, WIDE, DISCRETE), f"served_model.observation.normalization={figures}")


def test_figures_that_would_be_unpickled_are_refused(made: Make, tmp_path: Path) -> None:
    normalized(WIDE).save(str(tmp_path / "vecnormalize.pkl"))
    np.savez(tmp_path / "objects.npz", mean=np.array([{"a": 1}], dtype=object), var=np.ones(4))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "objects.npz").read_bytes()[:40])
    (tmp_path / "list.json").write_text("[1, 2]")
    for name in ("vecnormalize.pkl", "objects.npz", "cut.npz", "list.json"):
        with pytest.raises(BuildError, match=r"a pickled VecNormalize is not read.*numpy\.savez"):
            made(make(PPO, WIDE, DISCRETE), f"served_model.observation.normalization={tmp_path / name}")


def test_pictures_are_not_normalised(made: Make) -> None:
    with pytest.raises(BuildError, match="numbers are normalised; pictures"):
        made(
            make(PPO, VIEW, DISCRETE, "MultiInputPolicy"),
            "served_model.observation.normalization={camera: {mean: [0], var: [1]}}",
        )
