"""Small ONNX graphs, written node by node."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import NodeProto, TensorProto, helper

Port = tuple[str, int, Sequence[Any] | None]
"""Name, element type and shape, if any, of an input or output; a text is an axis of any size."""


def axes(*numbers: int) -> NodeProto:
    """The constant `axes` that newer operators read."""
    return helper.make_node(
        "Constant", [], ["axes"], value=helper.make_tensor("axes", TensorProto.INT64, [len(numbers)], numbers)
    )


def write_graph(
    path: Path, nodes: list[NodeProto], inputs: list[Port], outputs: list[Port], stored: list[Any] | None = None
) -> Path:
    """Write a graph and return its path."""
    taken, given = ([helper.make_tensor_value_info(*port) for port in side] for side in (inputs, outputs))
    graph = helper.make_graph(nodes, "graph", taken, given, stored or [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path
