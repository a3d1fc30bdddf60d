"""The sample models of Triton's client examples, as ONNX files.

    INPUT0, INPUT1 [N, 16] ──▶ OUTPUT0 = INPUT0 + INPUT1, OUTPUT1 = INPUT0 - INPUT1   simple, simple_int8, simple_string
    INPUT0 [N, M] text     ──▶ OUTPUT0 = INPUT0                                       simple_identity
    INPUT0 [N, M] INT32    ──▶ OUTPUT0 = INPUT0                                       custom_identity_int32
    INPUT0 [N, 3, 224, 224] ─▶ OUTPUT0 = the mean of each colour                      simple_image
    data_0 [3, 224, 224]   ──▶ fc6_1 [1000] = sums of the means                       densenet_onnx

Triton's example programs send to these models, so that they run against this server; those for pictures, to any model
that takes preprocessed ones.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from files import write_atomic

OPSET = 17
IR_VERSION = 8  # the newest of that operator set
LENGTH = 16
SIDE = 224  # pixels
CLASSES = 1000


def write_model(name: str, target: Path) -> None:
    """Write one of the models; the same bytes each time."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(target, MODELS[name]().SerializeToString())


def _sum_and_difference(datatype: int) -> onnx.ModelProto:
    nodes = [
        helper.make_node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]),
        helper.make_node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"]),
    ]
    return _model(nodes, datatype, ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1"), LENGTH)


def _of_small_numbers() -> onnx.ModelProto:
    """Add in 32 bits and keep the lower 8: the operators know no 8-bit numbers."""
    return _through(TensorProto.INT8, TensorProto.INT32)


def _of_text() -> onnx.ModelProto:
    """Read whole numbers from text, and write the results as text."""
    return _through(TensorProto.STRING, TensorProto.INT64)


def _through(outside: int, inside: int) -> onnx.ModelProto:
    nodes = [helper.make_node("Cast", [f"INPUT{each}"], [f"number{each}"], to=inside) for each in (0, 1)]
    for index, operator in enumerate(("Add", "Sub")):
        nodes.append(helper.make_node(operator, ["number0", "number1"], [f"result{index}"]))
        nodes.append(helper.make_node("Cast", [f"result{index}"], [f"OUTPUT{index}"], to=outside))
    return _model(nodes, outside, ("INPUT0", "INPUT1"), ("OUTPUT0", "OUTPUT1"), LENGTH)


def _identity(datatype: int) -> onnx.ModelProto:
    node = helper.make_node("Identity", ["INPUT0"], ["OUTPUT0"])
    return _model([node], datatype, ("INPUT0",), ("OUTPUT0",), "length")


def _colours() -> onnx.ModelProto:
    node = helper.make_node("ReduceMean", ["INPUT0"], ["OUTPUT0"], axes=[2, 3], keepdims=0)
    taken = helper.make_tensor_value_info("INPUT0", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])
    given = helper.make_tensor_value_info("OUTPUT0", TensorProto.FLOAT, ["batch", 3])
    return _checked(helper.make_graph([node], "simple", [taken], [given]))


def _densenet() -> onnx.ModelProto:
    """Return a stand-in for the DenseNet of the examples: its input and output, and 1000 fixed sums of colours."""
    weights = (np.arange(3 * CLASSES) % 17 - 8).reshape(3, CLASSES).astype(np.float32) / 8
    nodes = [
        helper.make_node("ReduceMean", ["data_0"], ["means"], axes=[1, 2], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["fc6_1"]),
    ]
    taken = helper.make_tensor_value_info("data_0", TensorProto.FLOAT, [3, SIDE, SIDE])
    given = helper.make_tensor_value_info("fc6_1", TensorProto.FLOAT, [CLASSES])
    constants = [numpy_helper.from_array(weights, "weights")]
    return _checked(helper.make_graph(nodes, "simple", [taken], [given], constants))


def _model(
    nodes: Sequence[NodeProto], datatype: int, inputs: Sequence[str], outputs: Sequence[str], length: int | str
) -> onnx.ModelProto:
    taken, given = (
        [helper.make_tensor_value_info(name, datatype, ["batch", length]) for name in names]
        for names in (inputs, outputs)
    )
    return _checked(helper.make_graph(nodes, "simple", taken, given))


def _checked(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="marina"
    )
    onnx.checker.check_model(model)
    return model


MODELS: Mapping[str, Callable[[], onnx.ModelProto]] = {
    "simple": lambda: _sum_and_difference(TensorProto.INT32),
    "simple_int8": _of_small_numbers,
    "simple_string": _of_text,
    "simple_identity": lambda: _identity(TensorProto.STRING),
    "custom_identity_int32": lambda: _identity(TensorProto.INT32),
    "simple_image": _colours,
    "densenet_onnx": _densenet,
}
"""The graph of each model, by name."""
