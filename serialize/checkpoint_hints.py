"""Advice for a checkpoint that does not fit its network: what it is of, and the setting that serves it."""

from collections.abc import Mapping

import torch

from serialize.network_spec import TORCHVISION, torchvision_builders

Tensors = Mapping[str, torch.Tensor]
OWN = "if the network was changed, name the function that builds it: served_model.network=path/to/file.py:FUNCTION"


def checkpoint_hint(state: Tensors, expected: Tensors) -> str:
    """Return the setting with which the tensors of `state` would fit, as far as they tell."""
    return _channels(state, expected) or _head(state, expected) or _builder(state) or OWN


def _channels(state: Tensors, expected: Tensors) -> str:
    """Return advice for a first convolution that takes another number of channels."""
    first = next((name for name, tensor in expected.items() if tensor.ndim == 4), None)
    if first is None or first not in state or state[first].ndim != 4:
        return ""
    given, wanted = list(state[first].shape), list(expected[first].shape)
    if given[1] == wanted[1] or given[:1] + given[2:] != wanted[:1] + wanted[2:]:
        return ""
    return f"the checkpoint is of pictures with {given[1]} channel(s): served_model.preprocessing.channels={given[1]}"


def _head(state: Tensors, expected: Tensors) -> str:
    """Return advice for a checkpoint without the last layer, or with another number of outputs."""
    last = list(expected)[-1].rpartition(".")[0] if expected else ""
    weight = f"{last}.weight"
    if weight not in expected:
        return ""
    missing = [name for name in expected if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in expected]
    if missing and not unknown and all(name.rpartition(".")[0] == last for name in missing):
        size = expected[weight].shape[-1]
        return f"the checkpoint has no classifier: served_model.task=embed served_model.output.size={size}"
    others = [name for name in expected if name in state and name.rpartition(".")[0] != last]
    if missing or unknown or any(state[name].shape != expected[name].shape for name in others):
        return ""
    outputs = int(state[weight].shape[0])
    return "one output: served_model.task=binary, or regress" if outputs == 1 else f"name {outputs} labels"


def _builder(state: Tensors) -> str:
    """Return the builder of torchvision whose tensors are those of `state`, but for the number of classes."""
    families: dict[str, list[str]] = {}
    for name, form in torchvision_builders().items():
        if form == "classifier":
            families.setdefault(_family(name), []).append(name)
    for names in families.values():
        # The networks of a family have the same parts, so one of them tells whether to look at the others.
        if _parts(_tensors(names[0])) == _parts(state):
            found = next((name for name in names if _is_of(_tensors(name), state)), None)
            if found is not None:
                return f"the checkpoint is of another network: served_model.network={TORCHVISION}{found}"
    return ""


def _family(name: str) -> str:
    from torchvision.models import get_model_builder

    return str(get_model_builder(name).__module__)


def _parts(state: Tensors) -> set[str]:
    return {name.partition(".")[0] for name in state}


def _tensors(name: str) -> Tensors:
    """Return the tensors of a builder without their numbers; {} for one that computes with its weights."""
    from torchvision.models import get_model

    try:
        with torch.device("meta"):
            network = get_model(name, weights=None, **({"init_weights": False} if name in _SLOW else {}))
    except NotImplementedError:
        return {}
    found: Tensors = network.state_dict()
    return found


def _is_of(expected: Tensors, state: Tensors) -> bool:
    names = {each for each in expected if not each.endswith("num_batches_tracked")}
    if not names or names != {each for each in state if not each.endswith("num_batches_tracked")}:
        return False
    last = list(expected)[-1].rpartition(".")[0]
    return all(each.startswith(last) or state[each].shape == expected[each].shape for each in names)


_SLOW = ("googlenet", "inception_v3")
"""Builders that fill their weights with scipy otherwise, which takes half a minute."""
