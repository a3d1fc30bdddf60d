"""Reads a policy from an archive, or raises the reason why the edge cannot compile it.

model.json   ──spaces, bounds, network──▶ EdgePolicy
the artifact ──weights of each layer────▶
"""

import io
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from archive import Archive, TrustedArchive
from errors import EdgeError
from handlers.card import Observation
from handlers.json_object import JsonObject
from handlers.policy_network import ACTIVATIONS
from handlers.spaces import ActionSpace, Box, action_space, box

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]  # weight [outputs, inputs], bias [outputs]

# The keys of a model card that the edge understands. Any other key requires something that the edge would ignore.
KNOWN = {
    "": {
        *("schema_version", "model_name", "kind", "description", "weights", "artifact", "request_params", "threads"),
        *("observation", "action", "network", "parity", "provenance"),
        "limits",  # of images and of batches; neither concerns a single observation
    },
    "artifact": {"format", "runtime", "file", "network", "opset"},
    "observation": {"fields", "space", "out_of_range"},
    "observation.space": {"type", "shape", "dtype", "low", "high"},
    # The edge returns the most likely action of the distribution, which is the default answer of the handler as well.
    "action": {"space", "names", "distribution"},
    "action.space": {"type", "n", "start", "nvec", "shape", "dtype", "low", "high"},
}
KNOWN_OF_NETWORK = {
    "": {"type", "observation", "widths", "activation", "head"},
    "observation": {"encoding", "scale", "sizes", "normalization"},
    "head": {"type", "shape", "low", "high", "limit", "squash", "log_std"},
}
ENCODINGS, HEADS = ("flatten", "one_hot"), ("logits", "box", "gaussian")
NOT_COMPILED = {
    "nature_cnn": "reads images through convolutions",
    "combined": "combines observations of several parts",
}

LARGEST = 4_000_000
"""The most weights that the edge compiles: 16 MB of constants, which take a compiler about a minute."""


@dataclass(frozen=True, eq=False)
class NormalizationConstants:
    """The mean and spread of each number of an observation, in float64, and the bound of the normalised numbers."""

    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    clip: float

    @classmethod
    def of(cls, figures: Mapping[str, Any]) -> "NormalizationConstants":
        """Read the description that handlers.policy_network reads."""
        spread = np.sqrt(np.array(figures["var"], dtype=np.float64) + figures["epsilon"])
        return cls(np.array(figures["mean"], dtype=np.float64), spread, float(figures["clip"]))


@dataclass(frozen=True, eq=False)
class EdgePolicy:
    """A policy, ready to be written as C.

    `one_hot` holds the sizes of the one-hot codes; it is None where the network gets the observation itself, normalised
    or divided by `scale`. `limit` and `squash` are those of handlers.policy_network.BoxHead.
    """

    model: str
    version: str
    weights: str
    observation: Observation
    action: ActionSpace
    layers: tuple[Layer, ...]
    activation: str
    scale: float
    normalization: NormalizationConstants | None
    one_hot: tuple[int, ...] | None
    limit: float | None
    squash: bool

    @property
    def space(self) -> Box:
        """The observation space; `read_edge_policy` has checked that it is a box."""
        assert isinstance(self.observation.space, Box)
        return self.observation.space

    @property
    def size(self) -> int:
        """The number of values in one observation."""
        return math.prod(self.space.shape)

    @property
    def outputs(self) -> int:
        """The number of outputs of the network."""
        return len(self.layers[-1][1])

    def raw(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        """Compute the network's last layer in float64: observations [N, size] to outputs [N, outputs]."""
        import torch

        values = torch.from_numpy(self._encoded(observations))
        activate = getattr(torch.nn, self.activation)()
        for number, (weight, bias) in enumerate(self.layers):
            linear = torch.from_numpy(weight).double(), torch.from_numpy(bias).double()
            values = torch.nn.functional.linear(values if number == 0 else activate(values), *linear)
        return cast("NDArray[np.float64]", values.numpy())

    def _encoded(self, observations: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.normalization is not None:
            wide = (observations - self.normalization.mean) / self.normalization.spread
            clipped = np.clip(wide, -self.normalization.clip, self.normalization.clip)
            return clipped.astype(np.float32).astype(np.float64)
        if self.one_hot is None:
            return observations / self.scale
        codes = [observations[:, [at]] == np.arange(size) for at, size in enumerate(self.one_hot)]
        return np.concatenate(codes, axis=1).astype(np.float64)


def read_edge_policy(archive: TrustedArchive) -> EdgePolicy:
    """Read the policy in an archive. Raises EdgeError with the reason why it cannot be compiled."""
    card = archive.card
    if card.get("kind") != "policy":
        raise EdgeError(f"{archive.model_name} cannot be compiled: it is a {card.get('kind')} model, not a policy")
    try:
        return _policy(archive, _network_spec(archive))
    except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise EdgeError(f"{archive.model_name} cannot be compiled: {error}") from None


def _network_spec(archive: Archive) -> Mapping[str, Any]:
    spec = archive.card.get("network") or archive.card["artifact"].get("network")
    if not isinstance(spec, Mapping):
        raise ValueError("its card does not describe the network; rebuild the archive with `make generate_mar`")
    if spec.get("type") != "policy":
        raise ValueError(f"its network is of type {spec.get('type')}, and the edge compiles plain layers only")
    if (reason := NOT_COMPILED.get(spec["observation"]["encoding"])) is not None:
        raise ValueError(f"it {reason}, which the edge does not compile")
    _check_keys(spec, KNOWN_OF_NETWORK, "its network's description")
    if spec["observation"]["encoding"] not in ENCODINGS or spec["head"]["type"] not in HEADS:
        kind = f"{spec['observation']['encoding']}, {spec['head']['type']}"
        raise ValueError(f"its network is a {kind} one, which the edge does not compile")
    if spec["activation"] not in ACTIVATIONS:
        raise ValueError(f"the edge does not know its activation {spec['activation']}")
    _check_handler(archive)
    return spec


def _check_keys(document: Mapping[str, Any], known: Mapping[str, set[str]], name: str) -> None:
    for path, keys in known.items():
        part: Any = document
        for key in filter(None, path.split(".")):
            part = part.get(key) if isinstance(part, Mapping) else None
        if isinstance(part, Mapping) and (unknown := sorted(part.keys() - keys)):
            where = f"{name}, {path}," if path else name
            raise ValueError(f"{where} has {', '.join(unknown)}, which the edge does not compile")


def _check_handler(archive: Archive) -> None:
    """Refuse a user's own handler, because the edge repeats only the logic of the project's handler."""
    packed = archive.read(archive.manifest["model"]["handler"])
    ours = Path(__file__).resolve().parent.parent / "handlers" / "policy_handler.py"
    if packed != ours.read_bytes():
        raise ValueError("its handler is a user's own or of another release, and the edge cannot compile it")


def _policy(archive: Archive, spec: Mapping[str, Any]) -> EdgePolicy:
    card = JsonObject(archive.card, "model.json")
    seen = card.object("observation")
    seen.object("space").choice("type", ("box",))
    _check_keys(archive.card, KNOWN, "its card")
    space = box(seen.object("space"))
    if space.dtype.kind == "f" and space.dtype.itemsize not in (4, 8):
        raise ValueError(f"its observations are of type {space.dtype}, which C does not compare")
    if space.dtype.kind == "f" and space.dtype.itemsize == 8 and space.network_dtype != np.float32:
        raise ValueError("its network does not take float32")
    fields = seen.texts("fields") if seen.values.get("fields") is not None else None
    head, encoding = spec["head"], spec["observation"]
    layers = _without_spreads(read_layers(archive, spec["widths"]), head)
    figures = encoding.get("normalization")
    if sum(weight.size for weight, _ in layers) > LARGEST:
        raise ValueError(f"its network has more than {LARGEST} weights")
    policy = EdgePolicy(
        model=archive.model_name,
        version=archive.version,
        weights=archive.card["weights"],
        observation=Observation(space, fields, cast("Any", seen.choice("out_of_range", ("reject", "clip")))),
        action=action_space(card.object("action").object("space")),
        layers=layers,
        activation=spec["activation"],
        scale=float(encoding.get("scale", 1.0)),
        normalization=None if figures is None else NormalizationConstants.of(figures),
        one_hot=tuple(encoding["sizes"]) if encoding["encoding"] == "one_hot" else None,
        limit=head.get("limit"),
        squash=bool(head.get("squash", False)),
    )
    _check_sizes(policy, spec["widths"])
    return policy


def _without_spreads(layers: tuple[Layer, ...], head: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Drop the outputs of a gaussian head that only sampling needs: the edge answers with the mean."""
    if head["type"] != "gaussian" or head["log_std"] is not None:
        return layers
    weight, bias = layers[-1]
    half = len(bias) // 2
    return (*layers[:-1], (weight[:half], bias[:half]))


def _check_sizes(policy: EdgePolicy, widths: list[int]) -> None:
    encoded = sum(policy.one_hot) if policy.one_hot else policy.size
    if encoded != widths[0]:
        raise ValueError(f"its network takes {widths[0]} numbers, its observation gives {encoded}")
    for (_, bias), (weight, _) in pairwise(policy.layers):
        if weight.shape[1] != bias.shape[0]:
            raise ValueError("its layers do not fit each other")
    if isinstance(policy.action, Box) and math.prod(policy.action.shape) != policy.outputs:
        raise ValueError("its network's output does not fit the action space")
    if not all(np.isfinite(part).all() for layer in policy.layers for part in layer):
        raise ValueError("its weights are not finite")


def read_layers(archive: Archive, widths: list[int]) -> tuple[Layer, ...]:
    """Read the weight and bias of each linear layer out of the artifact, first to last.

    Raises ValueError when the artifact is of an unknown format, or its layers have other sizes than `widths`.
    """
    artifact = archive.card["artifact"]
    if artifact["format"] not in READERS:
        raise ValueError(f"its artifact is {artifact['format']}; the edge reads the weights of {', '.join(READERS)}")
    content = archive.read(artifact["file"])
    try:
        layers = tuple(READERS[artifact["format"]](content))
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001
        # The formats' own libraries raise errors of any kind for a file that they cannot read.
        raise ValueError(f"its artifact {artifact['file']} cannot be read ({type(error).__name__})") from None
    shapes = [weight.shape for weight, _ in layers]
    wanted = [(outputs, inputs) for inputs, outputs in pairwise(widths)]
    if shapes != wanted:
        raise ValueError(f"its artifact has layers of {shapes}, its card describes {wanted}")
    return layers


def _onnx(content: bytes) -> Iterable[Layer]:
    # Each format's library is imported where it is used: no format needs another one's.
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(content).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Gemm":
            options = {option.name: onnx.helper.get_attribute_value(option) for option in node.attribute}
            if options.get("alpha", 1.0) != 1.0 or options.get("beta", 1.0) != 1.0 or options.get("transA", 0):
                raise ValueError("its graph scales a linear layer")
            weight, bias = (_constant(constants, name) for name in node.input[1:3])
            yield _layer(weight if options.get("transB", 0) else weight.T, bias)
        elif node.op_type in ("MatMul", "Conv", "LSTM", "GRU"):
            raise ValueError(f"its graph has a {node.op_type}, which the edge does not compile")


def _constant(constants: dict[str, NDArray[Any]], name: str) -> NDArray[Any]:
    if name not in constants:
        raise ValueError(f"its graph computes {name}, which should be a weight")
    return constants[name]


def _torchscript(content: bytes) -> Iterable[Layer]:
    import torch

    graph = torch.jit.load(io.BytesIO(content), map_location="cpu").inlined_graph  # type: ignore[no-untyped-call]
    for node in graph.findAllNodes("aten::linear"):
        _, weight, bias = (value.toIValue() for value in node.inputs())
        if weight is None or bias is None:
            raise ValueError("its graph computes a value that should be a weight")
        yield _layer(weight.numpy(), bias.numpy())


def _eager(content: bytes) -> Iterable[Layer]:
    import torch

    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    names = [name for name in state if name.startswith("layers.") and name.endswith(".weight")]
    for number in sorted(int(name.split(".")[1]) for name in names):
        yield _layer(state[f"layers.{number}.weight"].numpy(), state[f"layers.{number}.bias"].numpy())


def _layer(weight: NDArray[Any], bias: NDArray[Any]) -> Layer:
    return np.ascontiguousarray(weight, dtype=np.float32), np.ascontiguousarray(bias, dtype=np.float32)


READERS: dict[str, Callable[[bytes], Iterable[Layer]]] = {"onnx": _onnx, "torchscript": _torchscript, "eager": _eager}
