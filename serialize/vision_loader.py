"""Loads an image classifier: checkpoint or random weights → LoadedModel."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from archive.manifest import CARD
from errors import BuildError
from handlers import networks, outputs
from handlers.json_object import JsonObject
from handlers.outputs import NetworkOutput
from serialize.checkpoint_hints import checkpoint_hint
from serialize.graph_file import first_line, graph_kind, read_graph
from serialize.labels import resolve_labels
from serialize.loaded_model import ComputeOptions, LoadedModel
from serialize.network_spec import form_of, network_spec, own_file
from serialize.random_weights import random_network
from serialize.snapshot import is_snapshot, read_snapshot, snapshot_spec
from serialize.state_dict import fill, load_state_dicts
from settings.schema import VisionModel

logger = logging.getLogger(__name__)


def read_vision(model: VisionModel, checkpoint: Path | None) -> LoadedModel:
    """Load the network with the weights of `checkpoint`, or create one with seeded random weights for None.

    Raises BuildError if the checkpoint cannot be read safely or does not fit the network, and if the network does not
    answer pictures of the configured size with what the task reads.
    """
    card = _card(model)
    kind = outputs.of_card({"kind": model.kind, "task": model.task, **card})
    assert kind is not None  # the schema accepts no other task
    size = model.preprocessing.size
    source = _read_network(model, checkpoint, output_count(model, card.get("labels", [])), size)
    wanted = kind.network_outputs(kind.settings(JsonObject(card, CARD)))
    example, single = _example(model, source, wanted, kind.alone, size)
    return LoadedModel(
        network=source.network,
        spec=source.spec,
        card=card,
        example=example,
        input_name="pixels",
        output_names=tuple(output.name for output in wanted),
        alone=kind.alone,
        single=single,
        # The pixels have their channels last; weights in the same order save torch the reordering.
        compute=ComputeOptions(model.precision, model.channels_last in (True, "auto")),
        in_graph=model.preprocessing if model.preprocess_in_graph else None,
        checkpoint_key=source.key or None,
        files=source.files,
    )


@dataclass(frozen=True, eq=False)
class _Source:
    """A network, its specification, the key of its weights in the checkpoint, and the files that its code is in."""

    network: nn.Module
    spec: dict[str, Any]
    key: str = ""
    files: Mapping[str, Path] = field(default_factory=dict)


def _read_network(model: VisionModel, checkpoint: Path | None, classes: int, size: tuple[int, int]) -> _Source:
    kind = None if checkpoint is None else graph_kind(checkpoint)
    if model.network is None and checkpoint is not None and is_snapshot(checkpoint):
        return _of_snapshot(model, checkpoint)
    if model.network is None:
        if checkpoint is None or kind is None:
            raise BuildError(f"{_without_network(checkpoint)}: name it: served_model.network=torchvision/NAME")
        return _read_graph(model, checkpoint, kind)
    if kind is not None:
        raise BuildError(f"{checkpoint}: holds its own network ({kind}), so name no other: served_model.network=null")
    spec, file = network_spec(model, classes), own_file(model.network)
    folder = file.parent if file else Path()
    with users_code(model.network):
        if checkpoint is None:
            return _Source(random_network(spec, size, folder), spec, files=_files(file))
        network = networks.build_network(spec, folder)
    assert isinstance(network, networks.ImageClassifier)
    found = load_state_dicts(checkpoint, checkpoint, model.checkpoint_key, convertible=True)

    def hint(state: Mapping[str, torch.Tensor]) -> str:
        return checkpoint_hint(state, network.network.state_dict())

    key = fill(network.network, found, str(checkpoint), model.checkpoint_prefix, hint)
    return _Source(network.eval(), spec, key, _files(file))


def _of_snapshot(model: VisionModel, checkpoint: Path) -> _Source:
    form = form_of(model)
    spec = snapshot_spec(checkpoint, form) | model.preprocessing.normalisation
    spec |= {} if form == "classifier" else {"form": form}
    with users_code(f"the network of {checkpoint}"):
        return _Source(networks.image_network(read_snapshot(checkpoint, spec), spec).eval(), spec)


def _without_network(checkpoint: Path | None) -> str:
    return "weights=random are those of a network" if checkpoint is None else f"{checkpoint}: holds weights alone"


def _read_graph(model: VisionModel, checkpoint: Path, kind: str) -> _Source:
    if model.artifact == "eager" or (kind == "onnx" and not model.artifact.startswith("onnx")):
        choice = "onnx" if kind == "onnx" else "onnx or torchscript"
        raise BuildError(
            f"{checkpoint}: holds a graph ({kind}), which artifact {model.artifact} is not made of; "
            f"set served_model.artifact={choice}"
        )
    if model.precision != "float32":
        raise BuildError(f"{checkpoint}: a graph keeps its own precision; set served_model.precision=float32")
    spec: dict[str, Any] = {"type": "graph", "graph": kind, "form": form_of(model)}
    spec |= model.preprocessing.normalisation
    network = networks.image_network(read_graph(checkpoint, kind), spec)
    return _Source(network.eval(), spec, files={checkpoint.name: checkpoint})


def _files(file: Path | None) -> dict[str, Path]:
    return {} if file is None else {f"network/{file.name}": file}


@contextmanager
def users_code(network: str) -> Iterator[None]:
    """Raise BuildError for what goes wrong in a function that builds a network, the user's or a library's."""
    try:
        yield
    except BuildError:
        raise
    except Exception as error:
        logger.debug("the network cannot be built", exc_info=True)
        advice = "see served_model.network_args"
        if isinstance(error, ModuleNotFoundError):
            advice = "install it, or put all that the network needs into one file"
        elif isinstance(error, FileNotFoundError | AttributeError):
            advice = "name it as path/to/file.py:CLASS or package.module:FUNCTION"
        raise BuildError(
            f"served_model.network: {network}: {type(error).__name__}: {first_line(error)}; {advice}"
        ) from None


def _example(
    model: VisionModel, source: _Source, wanted: Sequence[NetworkOutput], alone: bool, size: tuple[int, int]
) -> tuple[torch.Tensor, bool]:
    """Return pixels that the network takes, and whether it takes one picture at a time.

    Raises BuildError where it answers them with anything but the `wanted` outputs.
    """
    name = model.network or model.checkpoint
    channels = len(source.spec["mean"])
    # Graphs may have been written for a fixed number of pictures.
    counts = (1,) if alone else (2, 1) if source.spec["type"] == "graph" else (2,)
    for count in counts:
        pixels = torch.zeros((count, *size, channels), dtype=getattr(torch, model.preprocessing.dtype))
        try:
            with torch.inference_mode():
                found = source.network(pixels)
        except Exception as error:
            if count != counts[-1]:
                continue
            logger.debug("the network refuses the example", exc_info=True)
            shape = " x ".join(map(str, size))
            raise BuildError(
                f"served_model.network: {name} does not take pictures of {shape} with {channels} channels: "
                f"{first_line(error)}; see served_model.preprocessing and network_args"
            ) from None
        break
    _check_outputs(name, found, wanted, () if alone else (count,))
    return pixels, count == 1 and not alone


def _check_outputs(name: str, found: Any, wanted: Sequence[NetworkOutput], count: tuple[int, ...]) -> None:
    tensors = found if isinstance(found, tuple | list) else (found,)
    shapes = [tuple(each.shape) if isinstance(each, torch.Tensor) else None for each in tensors]
    needed = [(*count, *output.shape) for output in wanted]
    fits = [
        shape is not None and NetworkOutput("", need).fits(shape) for shape, need in zip(shapes, needed, strict=False)
    ]
    if len(shapes) != len(needed) or not all(fits):
        names = ", ".join(f"{output.name} {list(need)}" for output, need in zip(wanted, needed, strict=True))
        raise BuildError(
            f"served_model.network: {name} returns {[list(shape or ()) for shape in shapes]}, the task and its labels "
            f"need {names}; see served_model.labels, served_model.output and network_args"
        )


def output_count(model: VisionModel, labels: Sequence[str]) -> int:
    """Return the number of the network's outputs: those of its head, whatever the task makes of them."""
    output = model.output
    if model.task == "embed":
        assert output.size is not None  # the schema requires it
        return output.size
    if model.task == "binary" or (model.task == "segment" and output.activation == "sigmoid"):
        return 1
    return len(output.names or labels)


def _card(model: VisionModel) -> dict[str, Any]:
    labels = resolve_labels(model.labels)
    return {
        **({"labels": labels} if labels else {}),
        "preprocessing": model.preprocessing.model_dump(mode="json"),
        "decode": "exact",
        "output": model.output.card(model.task),
    }
