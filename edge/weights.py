"""The weights of a policy's linear layers, out of whichever artifact its archive holds."""

import io
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archive import Archive

Layer = tuple[NDArray[np.float32], NDArray[np.float32]]


def read(archive: Archive, widths: list[int]) -> tuple[Layer, ...]:
    """Weight [outputs, inputs] and bias [outputs] of each layer, first to last; sizes are `widths`.

    Raises ValueError when the artifact holds other tensors than the description says.
    """
    artifact = archive.card["artifact"]
    if artifact["format"] not in READERS:
        raise ValueError(f"its artifact is {artifact['format']}; weights are read out of {', '.join(READERS)}")
    content = archive.read(artifact["file"])
    try:
        layers = tuple(READERS[artifact["format"]](content))
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001
        # An edge: whatever the formats' own libraries raise when a file is none of theirs.
        raise ValueError(f"its artifact {artifact['file']} cannot be read ({type(error).__name__})") from None
    shapes = [weight.shape for weight, _ in layers]
    wanted = [(outputs, inputs) for inputs, outputs in pairwise(widths)]
    if shapes != wanted:
        raise ValueError(f"its artifact has layers of {shapes}, its card describes {wanted}")
    return layers


def _onnx(content: bytes) -> Iterable[Layer]:
    # Imported late: reading a format needs no other format's library.
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
            raise ValueError(f"its graph has a {node.op_type}, which is not compiled")


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
            raise ValueError("its graph computes what should be a weight")
        yield _layer(weight.numpy(), bias.numpy())


def _eager(content: bytes) -> Iterable[Layer]:
    import torch

    state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    numbers = sorted(
        int(name.split(".")[1]) for name in state if name.startswith("layers.") and name.endswith(".weight")
    )
    for number in numbers:
        yield _layer(state[f"layers.{number}.weight"].numpy(), state[f"layers.{number}.bias"].numpy())


def _layer(weight: NDArray[Any], bias: NDArray[Any]) -> Layer:
    return np.ascontiguousarray(weight, dtype=np.float32), np.ascontiguousarray(bias, dtype=np.float32)


READERS: dict[str, Callable[[bytes], Iterable[Layer]]] = {"onnx": _onnx, "torchscript": _torchscript, "eager": _eager}
