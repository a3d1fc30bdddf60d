"""One reader per kind of policy network: Checkpoint → Actor.

Each reader names the tensors of its kind, leaves out those that only training needs, and refuses what it cannot
rebuild exactly. `serialize.sb3` holds the registry.
"""

from dataclasses import replace
from typing import Any

import torch

from errors import BuildError
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from serialize.sb3.actor import Actor, Layer, read_encoder, read_layer, read_layers
from serialize.sb3.policy_file import Checkpoint, Tensors
from serialize.sb3.policy_spaces import ActionSpace, Space, describe, width_of

SHARED_EXTRACTOR, POLICY_EXTRACTOR = "features_extractor", "pi_features_extractor"
ACTOR_EXTRACTOR = "actor.features_extractor"

NO_GSDE = "its noise depends on the state and is held over many steps (gSDE), so that one state alone has none to draw"
NO_NOISE = "TD3 and DDPG have no distribution, they explore with noise from outside"
NO_RATE = "a bare policy.pth does not tell the exploration rate; build from the .zip that save() wrote"


def actor_critic(checkpoint: Checkpoint) -> Actor:
    """Read the policy half of PPO, A2C and TRPO: Stable-Baselines3's ActorCriticPolicy.

    Tensors: [pi_|vf_]features_extractor, mlp_extractor.[shared_net|policy_net|value_net].N, action_net, value_net,
    log_std.
    """
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out("mlp_extractor.value_net.", "value_net.", "vf_features_extractor.", "sde_features_extractor.")
    # shared_net: layers of both halves, in versions before 2.0.
    layers = read_layers(tensors, "mlp_extractor.shared_net", "mlp_extractor.policy_net", last="action_net")
    # Since 1.7 the file holds the policy's own extractor under both names.
    extractor = POLICY_EXTRACTOR if tensors.names(f"{POLICY_EXTRACTOR}.") else SHARED_EXTRACTOR
    if extractor == POLICY_EXTRACTOR:
        tensors.leave_out_copies(f"{POLICY_EXTRACTOR}.", f"{SHARED_EXTRACTOR}.")
    gaussian = "log_std" in tensors
    # gSDE has one spread for each feature of the last layer and each action, other policies one for each action.
    gsde = gaussian and len(tensors.shape("log_std")) == 2
    log_std = None
    if gsde:
        tensors.leave_out("log_std")  # only noise needs it
    elif gaussian:
        log_std = tuple(tensors.read("log_std").flatten().tolist())
    width = layers[-1].outputs
    observation, action = _required_spaces(
        checkpoint,
        extractor,
        layers,
        f"Box(-1.0, 1.0, ({width},), float32)" if gaussian else f"Discrete({width})",
        activation="Tanh",
        **({"squash_output": False} if gsde else {}),
    )
    if isinstance(action, Box) != gaussian:
        raise BuildError(f"its action space is {describe(action)}, and it has {'a' if gaussian else 'no'} log_std")
    if not gsde and arguments.is_known("squash_output") and arguments.flag("squash_output", default=False):
        raise BuildError("squash_output is for policies that explore with gSDE")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_encoder(checkpoint, observation, extractor),
        layers=layers,
        activation=arguments.activation("Tanh", len(layers)),
        distribution=_actor_critic_distribution(action, gsde=gsde),
        log_std=log_std,
        squash=gsde and arguments.flag("squash_output", default=False),
    )


def maskable(checkpoint: Checkpoint) -> Actor:
    """Read MaskablePPO of sb3-contrib: PPO's network, whose requests may state which actions are allowed.

    A switch is a choice of two there (MaskableBernoulliDistribution), so that a mask can forbid either.
    """
    action = checkpoint.action
    if action is None or isinstance(action, Box):
        raise BuildError("MaskablePPO needs discrete actions")
    if isinstance(action, MultiBinary):
        action = MultiDiscrete((2,) * width_of(action))
    actor = actor_critic(replace(checkpoint, action=action))
    return replace(actor, distribution={"type": "categorical", "masks": True})


def squashed_actor(checkpoint: Checkpoint) -> Actor:
    """Read mean and spread of SAC, and of TQC and CrossQ of sb3-contrib, squashed onto the action space.

    Tensors: actor.latent_pi.N, actor.mu (actor.mu.0 with gSDE), actor.log_std, critics. CrossQ has batch
    renormalisations among the layers.
    """
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out("critic.", "critic_target.", "log_ent_coef", "actor.sde_features_extractor.")
    # With gSDE a Hardtanh after the linear layer may bound the mean; the linear layer is then the first of two.
    bounded = "actor.mu.0.weight" in tensors
    gsde = "actor.log_std" in tensors
    *hidden, mean = read_layers(tensors, "actor.latent_pi", last="actor.mu.0" if bounded else "actor.mu")
    if gsde:
        tensors.leave_out("actor.log_std")  # only noise needs it
        layers = (*hidden, mean)
    else:
        layers = (*hidden, _with_spread(mean, read_layer(tensors, "actor.log_std")))
    renormed = any(each.renorm is not None for each in layers)
    observation, action = _required_spaces(
        checkpoint,
        ACTOR_EXTRACTOR,
        layers,
        f"Box(-1.0, 1.0, ({mean.outputs},), float32)",
        activation="ReLU",
        **({"clip_mean": 2.0} if bounded else {}),
        **({"batch_norm_eps": 0.001} if renormed else {}),
    )
    if not isinstance(action, Box):
        raise BuildError(f"its action space is {describe(action)}, and an actor with a spread needs a Box")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_encoder(checkpoint, observation, ACTOR_EXTRACTOR),
        layers=layers,
        activation=arguments.activation("ReLU", len(layers)),
        distribution=_no_distribution(NO_GSDE) if gsde else {"type": "gaussian", "squash": True},
        limit=arguments.number("clip_mean", default=2.0) if bounded else None,
        squash=True,
        epsilon=arguments.number("batch_norm_eps", default=0.001) if renormed else None,
    )


def deterministic_actor(checkpoint: Checkpoint) -> Actor:
    """Read the actor of TD3 and DDPG, whose output is squashed onto the action space.

    Tensors: actor.mu.N, its target, critics.
    """
    tensors, arguments = checkpoint.tensors, checkpoint.arguments
    tensors.leave_out("actor_target.", "critic.", "critic_target.")
    layers = read_layers(tensors, "actor.mu")
    example = f"Box(-1.0, 1.0, ({layers[-1].outputs},), float32)"
    observation, action = _required_spaces(checkpoint, ACTOR_EXTRACTOR, layers, example, activation="ReLU")
    if not isinstance(action, Box):
        raise BuildError(f"its action space is {describe(action)}, and TD3 and DDPG need a Box")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_encoder(checkpoint, observation, ACTOR_EXTRACTOR),
        layers=layers,
        activation=arguments.activation("ReLU", len(layers)),
        distribution=_no_distribution(NO_NOISE),
        squash=True,
    )


def q_network(checkpoint: Checkpoint) -> Actor:
    """Read the Q network of DQN, whose `predict` takes the action with the largest value.

    Tensors: q_net.q_net.N and its target.
    """
    checkpoint.tensors.leave_out("q_net_target.")
    layers = read_layers(checkpoint.tensors, "q_net.q_net")
    # The width of the last layer is the number of DQN's actions.
    known = replace(checkpoint, action=checkpoint.action or Discrete(layers[-1].outputs, 0))
    return _epsilon_greedy(known, "DQN", "q_net.features_extractor", layers)


def quantile_network(checkpoint: Checkpoint) -> Actor:
    """Read the mean values of QR-DQN of sb3-contrib.

    Tensors: quantile_net.quantile_net.N and its target. The last layer returns quantiles of each action's value,
    [quantiles, actions], and `predict` takes the action with the largest mean. A mean of linear outputs is linear, so
    the last layer computes it.
    """
    checkpoint.tensors.leave_out("quantile_net_target.")
    layers = read_layers(checkpoint.tensors, "quantile_net.quantile_net")
    actor = _epsilon_greedy(checkpoint, "QR-DQN", "quantile_net.features_extractor", layers)
    *hidden, last = layers
    return replace(actor, layers=(*hidden, _mean_of_quantiles(last, width_of(actor.action))))


def _epsilon_greedy(checkpoint: Checkpoint, name: str, extractor: str, layers: tuple[Layer, ...]) -> Actor:
    observation, action = _required_spaces(checkpoint, extractor, layers, "Discrete(4)", activation="ReLU")
    if not isinstance(action, Discrete):
        raise BuildError(f"its action space is {describe(action)}, and {name} needs a Discrete one")
    return Actor(
        observation=observation,
        action=action,
        encoder=read_encoder(checkpoint, observation, extractor),
        layers=layers,
        activation=checkpoint.arguments.activation("ReLU", len(layers)),
        distribution=_epsilon_greedy_distribution(checkpoint.settings.get("exploration_rate")),
    )


def _required_spaces(
    checkpoint: Checkpoint, extractor: str, layers: tuple[Layer, ...], action_space: str, **arguments: Any
) -> tuple[Space, ActionSpace]:
    """Return the spaces. Raises BuildError if one of them or of the `arguments` is neither stored nor stated.

    A reader calls this after it has read all tensors but the extractor's, so that no user states values for a file that
    is refused anyway. `action_space` and `arguments` are examples of what to write into the YAML. The example of the
    observation space follows from the tensors of `extractor` and the first of the `layers`. A single layer needs no
    activation.
    """
    tensors = checkpoint.tensors
    tensors.check_all_read(besides=f"{extractor}.")
    if len(layers) == 1:
        arguments.pop("activation", None)
    missing = {name: example for name, example in arguments.items() if not checkpoint.arguments.is_known(name)}
    if _convolutions(tensors, extractor) and not checkpoint.arguments.is_known("normalize_images"):
        missing["normalize_images"] = True
    if checkpoint.observation is None:
        missing["observation_space"] = _example_observation(tensors, extractor, layers[0].inputs)
    if checkpoint.action is None:
        missing["action_space"] = action_space
    if missing or checkpoint.observation is None or checkpoint.action is None:
        raise checkpoint.arguments.unstated(**missing)
    return checkpoint.observation, checkpoint.action


def _example_observation(tensors: Tensors, extractor: str, inputs: int) -> str:
    convolutions = _convolutions(tensors, extractor)
    if not convolutions:
        return f"Box(-inf, inf, ({inputs},), float32)"
    image = f"Box(0, 255, ({tensors.shape(convolutions[0])[1]}, 84, 84), uint8)"
    _, combined, rest = convolutions[0].partition(".extractors.")
    key = rest.removesuffix(".cnn.0.weight")
    return f"Dict('{key}': {image}, 'speed': Box(-inf, inf, (2,), float32))" if combined else image


def _convolutions(tensors: Tensors, extractor: str) -> list[str]:
    return [name for name in tensors.names(f"{extractor}.") if name.endswith("cnn.0.weight")]


def _with_spread(mean: Layer, log_std: Layer) -> Layer:
    """Return one layer for the means and, after them, the logarithms of the spreads."""
    if mean.weight.shape != log_std.weight.shape:
        raise BuildError("actor.mu and actor.log_std do not have the same shape")
    weight, bias = torch.cat([mean.weight, log_std.weight]), torch.cat([mean.bias, log_std.bias])
    return replace(mean, weight=weight, bias=bias)


def _mean_of_quantiles(last: Layer, actions: int) -> Layer:
    if last.outputs % actions:
        raise BuildError(f"the network gives {last.outputs} values, no multiple of its {actions} actions")
    weight, bias = last.weight.double().reshape(-1, actions, last.inputs), last.bias.double().reshape(-1, actions)
    return replace(last, weight=weight.mean(dim=0).float(), bias=bias.mean(dim=0).float())


def _actor_critic_distribution(action: ActionSpace, *, gsde: bool) -> dict[str, Any]:
    """Return the distribution that Stable-Baselines3 makes for an action space (make_proba_distribution)."""
    if gsde:
        return _no_distribution(NO_GSDE)
    if isinstance(action, Box):
        return {"type": "gaussian", "squash": False}
    return {"type": "bernoulli" if isinstance(action, MultiBinary) else "categorical"}


def _epsilon_greedy_distribution(rate: Any) -> dict[str, Any]:
    """Return DQN's `predict(deterministic=False)`: any action with the rate at which training ended."""
    if not isinstance(rate, int | float) or isinstance(rate, bool) or not 0 <= rate <= 1:
        return _no_distribution(NO_RATE)
    return {"type": "epsilon_greedy", "rate": float(rate)}


def _no_distribution(reason: str) -> dict[str, Any]:
    return {"type": "none", "reason": reason}
