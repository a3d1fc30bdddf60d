"""`onnx`: a graph with a dynamic batch, on request with the resizing inside and dynamic height and width.

    network ──trace──▶ graph ──(prepend Resize and crop)──▶ optimised at level `basic` ──▶ model.onnx

The graph comes from tracing and not from torch.export. With torch 2.13 both give the same answers, but the traced graph
of a MobileNetV3-Small has 146 nodes instead of 190 (one pooling node where the other builds it from several), takes
0.4 s instead of 8, and holds no stack traces with paths of this machine.

ONNX Runtime optimises at level `basic`: it folds constants, merges batch norms into convolutions and uses standard
operators only. The higher levels depend on the CPU, so each worker applies them when it loads the graph.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from errors import BuildError
from serialize.loaded_model import LoadedModel
from settings.schema import PreprocessingSettings

# The newest opset that TensorRT 8.6 and ONNX Runtime 1.13 read; these networks need no later one.
OPSET = 17
RESIZE_OPSET = 18  # the first whose Resize can antialias
# ONNX Runtime's errors share no base class but Exception.
REFUSED = (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf,
           failures.NotImplemented, failures.RuntimeException)  # fmt: skip
# Without "nearest": where a centre falls between two pixels, ONNX Runtime takes another one than Pillow.
MODES = {"bilinear": "linear", "bicubic": "cubic"}
CUBIC = -0.5  # Pillow's and torchvision's coefficient


@dataclass(frozen=True)
class Onnx:
    """A graph of torch.onnx.export, optimised by ONNX Runtime."""

    name: str = "onnx"
    file: str = "model.onnx"
    runtime: str = "onnx"

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the optimised graph."""
        with refusals():
            if loaded.in_graph is None:
                export(loaded, target)
                return {"opset": OPSET}
            export(loaded, target, RESIZE_OPSET)
            prepend_resize(target, loaded.in_graph)
        return {"opset": RESIZE_OPSET, "preprocessing": True}


@contextmanager
def refusals() -> Iterator[None]:
    """Raise BuildError for an error of the exporter or of ONNX Runtime."""
    try:
        yield
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError, *REFUSED) as error:
        raise BuildError(f"the ONNX export failed: {str(error).splitlines()[0]}") from None


def export(loaded: LoadedModel, target: Path, opset: int = OPSET) -> None:
    """Write the network as an optimised graph with a dynamic batch."""
    traced = target.with_suffix(".traced")
    try:
        trace(loaded, traced, opset)
        optimise(traced, target)
    finally:
        traced.unlink(missing_ok=True)


def trace(loaded: LoadedModel, target: Path, opset: int = OPSET) -> None:
    """Write the traced graph without optimisation."""
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns that it is no longer the default; the module's docstring says why this format uses it.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            loaded.network,
            (loaded.example,),
            target,
            input_names=[loaded.input_name],
            output_names=[loaded.output_name],
            dynamic_axes={loaded.input_name: {0: "batch"}, loaded.output_name: {0: "batch"}},
            opset_version=opset,
            dynamo=False,
        )


def optimise(traced: Path, target: Path) -> None:
    """Write the graph that ONNX Runtime makes before it considers the CPU."""
    options = _session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])


def session(path: Path) -> onnxruntime.InferenceSession:
    """Return a session for the graph at `path`, with one thread."""
    return onnxruntime.InferenceSession(str(path), _session_options(), providers=["CPUExecutionProvider"])


def _session_options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # errors only: the warnings advise against saving optimised graphs
    return options


@dataclass(frozen=True)
class _NodeBuilder:
    """Nodes and constants in the order of their creation; each method returns the name of its result."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def number(self, *values: int) -> str:
        """Add a constant list of whole numbers."""
        name = f"prepare_number_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add one node and return its result's name."""
        name = f"prepare_{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name


def prepend_resize(path: Path, settings: PreprocessingSettings) -> None:
    """Put resize and centre crop in front of the graph at `path`, which then accepts images of any size.

        uint8 [batch, height, width, 3] ──▶ Resize, antialiased ──▶ Slice ──▶ the network

    The nodes compute the sizes on torchvision's grid: they cut the longer side to whole pixels and round half of the
    crop's rest to even. They use whole numbers only, so that every machine rounds alike. Raises BuildError for a crop
    larger than the resized image, as the graph does not pad, and for `nearest`.
    """
    if settings.interpolation not in MODES:
        raise BuildError(f"preprocess_in_graph: {settings.interpolation} is not the same picture in ONNX Runtime")
    resize = settings.resize
    smallest = (resize, resize) if isinstance(resize, int) else resize
    if settings.crop is not None and (settings.crop[0] > smallest[0] or settings.crop[1] > smallest[1]):
        raise BuildError("preprocess_in_graph: the crop is larger than the resized picture, and the graph pads nothing")
    model = onnx.load(path)
    graph = model.graph
    given = graph.input[0].name
    builder = _NodeBuilder()
    prepared = _resized(builder, given, settings)
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == given:
                node.input[index] = prepared
    nodes = [*builder.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(builder.constants)
    graph.input[0].CopyFrom(helper.make_tensor_value_info(given, TensorProto.UINT8, ["batch", "height", "width", 3]))
    onnx.checker.check_model(model)
    joined = path.with_suffix(".joined")
    try:
        onnx.save(model, joined)
        optimise(joined, path)
    finally:
        joined.unlink(missing_ok=True)


def _resized(builder: _NodeBuilder, given: str, settings: PreprocessingSettings) -> str:
    zero, one, two = builder.number(0), builder.number(1), builder.number(2)
    shape = builder.node("Shape", given)
    batch, rows, columns = (builder.node("Gather", shape, index, axis=0) for index in (zero, one, two))
    height, width = _resized_size(builder, rows, columns, settings)
    sizes = builder.node("Concat", batch, builder.number(3), height, width, axis=0)
    planes = builder.node("Transpose", given, perm=[0, 3, 1, 2])
    result = builder.node(
        "Resize",
        *(planes, "", "", sizes),
        mode=MODES[settings.interpolation],
        coordinate_transformation_mode="half_pixel",
        antialias=1,
        cubic_coeff_a=CUBIC,
        exclude_outside=1,  # at the edges, Pillow weighs the existing pixels; ONNX's default repeats the outermost one
    )
    if settings.crop is not None:
        firsts = [_first_kept(builder, *side) for side in zip((height, width), settings.crop, strict=True)]
        starts = builder.node("Concat", *firsts, axis=0)
        ends = builder.node("Add", starts, builder.number(*settings.crop))
        result = builder.node("Slice", result, starts, ends, builder.number(2, 3))
    return builder.node("Transpose", result, perm=[0, 2, 3, 1])


def _resized_size(builder: _NodeBuilder, rows: str, columns: str, settings: PreprocessingSettings) -> tuple[str, str]:
    if not isinstance(settings.resize, int):
        return builder.number(settings.resize[0]), builder.number(settings.resize[1])
    shorter = builder.number(settings.resize)
    product = builder.node("Mul", shorter, builder.node("Max", rows, columns))
    longer = builder.node("Div", product, builder.node("Min", rows, columns))
    upright = builder.node("GreaterOrEqual", rows, columns)
    return builder.node("Where", upright, longer, shorter), builder.node("Where", upright, shorter, longer)


def _first_kept(builder: _NodeBuilder, size: str, kept: int) -> str:
    """Return the first kept pixel of an axis: half of the rest, where a half pixel rounds to the even neighbour."""
    two = builder.number(2)
    rest = builder.node("Sub", size, builder.number(kept))
    half = builder.node("Div", rest, two)
    odd = builder.node("Mod", rest, two)
    return builder.node("Add", half, builder.node("Mul", odd, builder.node("Mod", half, two)))


FORMAT = Onnx()
