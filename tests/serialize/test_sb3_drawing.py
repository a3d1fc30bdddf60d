"""Drawn actions have Stable-Baselines3's own distribution: ten thousand of one state beside its probabilities."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib import QRDQN, MaskablePPO
from stable_baselines3 import A2C, DQN, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm

from handlers import action_selection
from handlers.batch import Outputs
from handlers.errors import InvalidFields
from handlers.json_object import JsonObject
from handlers.spaces import action_distribution, action_space
from serialize.loaded_model import LoadedModel
from serialize.policy_loader import read_policy
from tests.serialize.sb3_cases import BINARY, DISCRETE, MULTI, PARTS, SMALL, TWO, WIDE
from tests.serialize.sb3_models import Space, box, make, samples
from tests.serialize.sb3_parity import configured, served

COUNT = 10_000
ALPHA = 1e-4
"""How often a right program would be called wrong; the seeds are fixed, so it is either always or never."""


def spread(model: BaseAlgorithm, gain: float) -> BaseAlgorithm:
    """The model with a last layer so large that its choices are not all alike."""
    state = model.policy.state_dict()
    for name, tensor in state.items():
        if name.startswith("action_net") or name.endswith("actor.mu.weight"):
            tensor.mul_(gain)
    model.policy.load_state_dict(state)
    return model


def source_of(model: BaseAlgorithm, folder: Path) -> LoadedModel:
    model.save(folder / "policy.zip")
    return read_policy(configured(), folder / "policy.zip")


def asked(source: LoadedModel, count: int, **options: Any) -> Outputs:
    action = JsonObject(source.card["action"], "card")
    space = action_space(action.object("space"))
    return action_selection.read_options(
        {"deterministic": False, "seed": 11} | options, count, space, action_distribution(action, space)
    )


def drawn(source: LoadedModel, observation: Any, **options: Any) -> NDArray[Any]:
    """`COUNT` actions for one observation [1, ...]."""
    many = (
        {key: np.repeat(value, COUNT, axis=0) for key, value in observation.items()}
        if isinstance(observation, dict)
        else np.repeat(observation, COUNT, axis=0)
    )
    return np.asarray(served(source, many, asked(source, COUNT, **options))[0])


def chi_square(found: NDArray[Any], chances: NDArray[Any]) -> None:
    """Pearson's test of counts beside probabilities; the limit is Wilson and Hilferty's for ALPHA."""
    counts = np.bincount(found, minlength=len(chances))
    assert counts[chances == 0].sum() == 0
    expected, counts = COUNT * chances[chances > 0], counts[chances > 0]
    statistic, freedom = float(((counts - expected) ** 2 / expected).sum()), len(expected) - 1
    if freedom == 0:
        assert statistic < 1e-9
        return
    limit = freedom * (1 - 2 / (9 * freedom) + 3.719 * np.sqrt(2 / (9 * freedom))) ** 3
    assert statistic < limit, (statistic, limit, counts, expected)


def probabilities(model: Any, observation: Any, **options: Any) -> list[NDArray[Any]]:
    """The library's own, one array for each choice of an action."""
    tensor, _ = model.policy.obs_to_tensor(observation)
    with torch.no_grad():
        found = model.policy.get_distribution(tensor, **options)
    # sb3-contrib calls several by another name.
    distribution = found.distributions if hasattr(found, "distributions") else found.distribution
    each = distribution if isinstance(distribution, list) else [distribution]
    return [one.probs.double().numpy()[0] for one in each]


@pytest.mark.parametrize("algorithm", [PPO, A2C, MaskablePPO])
@pytest.mark.parametrize("observation", [WIDE, PARTS], ids=["box", "parts"])
def test_one_choice_is_drawn_as_the_library_does(
    tmp_path: Path, algorithm: type[BaseAlgorithm], observation: Space
) -> None:
    policy = "MultiInputPolicy" if observation is PARTS else "MlpPolicy"
    model = spread(make(algorithm, observation, DISCRETE, policy), 100)
    state = samples(observation, 1)
    (chances,) = probabilities(model, state)
    chi_square(drawn(source_of(model, tmp_path), state), chances)


@pytest.mark.parametrize("algorithm", [PPO, MaskablePPO])
def test_several_choices_are_drawn_as_the_library_does(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    model, state = spread(make(algorithm, WIDE, MULTI), 100), samples(WIDE, 1)
    found = drawn(source_of(model, tmp_path), state)
    chances = probabilities(model, state)
    for column, chance in zip(found.T, chances, strict=True):
        chi_square(column, chance)
    # Independent of each other: pairs come as often as their product says.
    together = np.outer(chances[0], chances[1]).ravel()
    chi_square(found[:, 0] * len(chances[1]) + found[:, 1], together)


def test_switches_are_drawn_as_the_library_does(tmp_path: Path) -> None:
    model, state = spread(make(A2C, WIDE, BINARY), 100), samples(WIDE, 1)
    (chances,) = probabilities(model, state)
    for column, chance in zip(drawn(source_of(model, tmp_path), state).T, chances, strict=True):
        chi_square(column, np.array([1 - chance, chance]))


@pytest.mark.parametrize("action", [DISCRETE, MULTI, BINARY], ids=["discrete", "multi", "switches"])
def test_masked_actions_are_those_of_the_library(tmp_path: Path, action: Space) -> None:
    model, states = make(MaskablePPO, WIDE, action), samples(WIDE, 2000)
    source = source_of(model, tmp_path)
    width = {"discrete": 4, "multi": 10, "switches": 10}[
        "discrete" if action is DISCRETE else "multi" if action is MULTI else "switches"
    ]
    masks = np.random.default_rng(5).random((len(states), width)) < 0.6
    # One action of each choice stays allowed.
    starts = {4: [0], 10: [0, 2, 7] if action is MULTI else [0, 2, 4, 6, 8]}[width]
    masks[:, starts] = True
    expected, _ = model.predict(states, action_masks=masks, deterministic=True)  # type: ignore[call-arg]  # its own
    more = asked(source, len(states), deterministic=True, seed=None, action_masks=masks.tolist())
    np.testing.assert_array_equal(np.asarray(served(source, states, more)[0]), expected)
    if action is DISCRETE:
        mask = [True, False, True, False]
        (chances,) = probabilities(model, states[:1], action_masks=np.array([mask]))
        chi_square(drawn(source, states[:1], action_masks=[mask] * COUNT), chances)


@pytest.mark.parametrize(("algorithm", "squash"), [(PPO, False), (A2C, False), (SAC, True)])
def test_a_gaussian_has_the_librarys_mean_and_spread(
    tmp_path: Path, algorithm: type[BaseAlgorithm], squash: bool
) -> None:
    """Before it is clipped or squashed: by the parameters exactly, and by ten thousand draws within their error."""
    wide = box(-50, 50, (2,))
    model: Any = make(algorithm, WIDE, TWO if squash else wide)
    source = source_of(model, tmp_path)
    state = samples(WIDE, 1)
    tensor, _ = model.policy.obs_to_tensor(state)
    with torch.no_grad():
        if squash:
            mean, log_std, _ = model.policy.actor.get_action_dist_params(tensor)
        else:
            normal = model.policy.get_distribution(tensor).distribution
            mean, log_std = normal.mean, normal.stddev.log()
    _, outputs = served(source, state)
    np.testing.assert_allclose(outputs[:, 0], mean.numpy(), rtol=0, atol=1e-6)
    np.testing.assert_allclose(outputs[:, 1], log_std.numpy(), rtol=0, atol=1e-6)
    found = drawn(source, state).astype(np.float64)
    if squash:
        scaled = 2 * (found - TWO.low) / (TWO.high - TWO.low) - 1
        found = np.arctanh(np.clip(scaled, -1 + 1e-7, 1 - 1e-7))
    deviation = np.exp(log_std.numpy()[0].astype(np.float64))
    standard = (found - mean.numpy()[0]) / deviation
    for column in standard.T:
        # Ten equal shares of a normal distribution.
        edges = np.array(
            [-1.2815516, -0.8416212, -0.5244005, -0.2533471, 0, 0.2533471, 0.5244005, 0.8416212, 1.2815516]
        )
        chi_square(np.searchsorted(edges, column), np.full(10, 0.1))
    assert abs(np.corrcoef(standard.T)[0, 1]) < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("algorithm", [DQN, QRDQN])
def test_exploration_is_that_of_the_checkpoint(tmp_path: Path, algorithm: type[BaseAlgorithm]) -> None:
    model: Any = make(algorithm, WIDE, DISCRETE)
    model.exploration_rate = 0.3
    state = samples(WIDE, 1)
    chances = np.full(4, 0.3 / 4)
    chances[int(model.predict(state, deterministic=True)[0][0])] += 0.7
    chi_square(drawn(source_of(model, tmp_path), state), chances)


@pytest.mark.parametrize(
    ("algorithm", "arguments", "words"),
    [
        (TD3, {}, "TD3 and DDPG have no distribution"),
        (SAC, {"use_sde": True}, r"held over many steps \(gSDE\)"),
        (A2C, {"use_sde": True}, r"held over many steps \(gSDE\)"),
    ],
)
def test_what_has_nothing_to_draw_from_says_why(
    tmp_path: Path, algorithm: type[BaseAlgorithm], arguments: dict[str, Any], words: str
) -> None:
    source = source_of(make(algorithm, SMALL, TWO, **arguments), tmp_path)
    with pytest.raises(InvalidFields, match=words):
        asked(source, 1)


def test_a_bare_network_does_not_tell_its_exploration(tmp_path: Path) -> None:
    torch.save(make(DQN, SMALL, spaces.Discrete(3)).policy.state_dict(), tmp_path / "policy.pth")
    said = ("served_model.policy.activation=ReLU", "served_model.fields=[a,b,c]")
    source = read_policy(configured(*said), tmp_path / "policy.pth")
    with pytest.raises(InvalidFields, match="does not tell the exploration rate"):
        asked(source, 1)
