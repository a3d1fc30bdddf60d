"""`onnx`: a graph with a dynamic batch, on request with the resizing inside and dynamic height and width.

    network ──trace──▶ graph ──(prepend Resize and crop)──▶ optimised at level `basic` ──▶ model.onnx

The graph comes from tracing; torch.export is for networks that tracing refuses, or whose traced graph answers
differently. With torch 2.13 both give the same answers for the others, but the traced graph of a MobileNetV3-Small has
146 nodes instead of 190 (one pooling node where the other builds it from several), takes 0.4 s instead of 8, and holds
no stack traces with paths of this machine.

ONNX Runtime optimises at level `basic`: it folds constants, merges batch norms into convolutions and uses standard
operators only. The higher levels depend on the CPU, so each worker applies them when it loads the graph.
"""

import contextlib
import functools
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper

from errors import BuildError
from handlers.networks import ImageClassifier
from serialize.graph_file import OnnxNetwork, first_line, held_graph, scripted
from serialize.loaded_model import LoadedModel
from serialize.onnx_session import REFUSED, session, session_options
from serialize.sample_requests import noisy_images
from settings.schema import PreprocessingSettings

# The newest opset that TensorRT 8.6 and ONNX Runtime 1.13 read; these networks need no later one.
OPSET = 17
RESIZE_OPSET = 18  # the first whose Resize can antialias
LIMIT, TINY = 1e-3, 1e-6  # of a graph's answers, as a share of the spread of the network's
# Without "nearest": where a centre falls between two pixels, ONNX Runtime takes another one than Pillow.
MODES = {"bilinear": "linear", "bicubic": "cubic"}
CUBIC = -0.5  # Pillow's and torchvision's coefficient
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Onnx:
    """A graph of torch.onnx.export, optimised by ONNX Runtime."""

    name: str = "onnx"
    file: str = "model.onnx"
    runtime: str = "onnx"

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the optimised graph."""
        if loaded.in_graph is None:
            return {"opset": export(loaded, target)}
        with refusals():
            export(loaded, target, RESIZE_OPSET)
            prepend_resize(target, loaded.in_graph)
        return {"opset": RESIZE_OPSET, "preprocessing": True}


@contextmanager
def refusals() -> Iterator[None]:
    """Raise BuildError for an error of the exporter or of ONNX Runtime."""
    try:
        yield
    except (torch.onnx.errors.OnnxExporterError, onnx.checker.ValidationError, *REFUSED) as error:
        raise BuildError(f"the ONNX export failed: {first_line(error)}") from None


class NotExportable(BuildError):
    """A network that neither exporter writes as an ONNX graph, with the reason of each."""


def export(loaded: LoadedModel, target: Path, opset: int = OPSET) -> int:
    """Write the network as an optimised graph with a dynamic batch, and return its opset.

    Raises NotExportable where both exporters refuse the network, or write a graph that answers differently.
    """
    if isinstance(graph := held_graph(loaded.network), OnnxNetwork):
        with refusals():
            return _write(target, functools.partial(prepend_pixels, loaded, graph.path))
    if loaded.spaces is not None:  # a policy, whose layers tracing knows
        with refusals():
            return _write(target, functools.partial(trace, loaded, opset=opset))
    refused: list[str] = []
    exporters = {"tracing": trace, "torch.export": export_graph}
    for name, exporter in exporters.items():
        try:
            used = _write(target, functools.partial(exporter, loaded, opset=opset))
            _check_answers(loaded, target)
        except Exception as error:
            # The exporters raise anything for an operator that they do not know.
            logger.debug("%s refuses the network", name, exc_info=True)
            refused.append(f"{name}: {first_line(error)}")
        else:
            if refused:
                logger.warning("the ONNX graph is written by %s, because of %s", name, refused[0])
            return used
    raise NotExportable(f"no ONNX exporter writes this network: {'; '.join(refused)}")


def _write(target: Path, write: Callable[[Path], None]) -> int:
    """Write a graph and optimise it; return its opset."""
    raw = target.with_suffix(".traced")
    try:
        write(raw)
        optimise(raw, target)
        imports = onnx.load(target, load_external_data=False).opset_import
        return next(int(each.version) for each in imports if not each.domain)
    finally:
        raw.unlink(missing_ok=True)


def _check_answers(loaded: LoadedModel, target: Path) -> None:
    """Raise ValueError where a graph answers other batches differently: tracing keeps the branch that it saw."""
    if loaded.alone:
        return
    running = session(target)
    for count in (1,) if loaded.single else (1, 3):
        _, height, width, channels = loaded.example.shape
        pixels = torch.from_numpy(noisy_images(count, (height, width), channels, seed=0)).to(loaded.example.dtype)
        with torch.inference_mode():
            expected = loaded.network(pixels).numpy()
        found = running.run(None, {loaded.input_name: pixels.numpy()})[0]
        if found.shape != expected.shape or np.abs(found - expected).max() > LIMIT * max(np.ptp(expected), TINY):
            raise ValueError(f"the graph answers {count} pictures differently than the network")


def export_graph(loaded: LoadedModel, target: Path, opset: int = RESIZE_OPSET) -> None:
    """Write the graph of torch.export, without the paths of this machine in it; its first opset is RESIZE_OPSET."""
    axes = loaded.dynamic_axes.get(loaded.input_name)
    with warnings.catch_warnings(), torch.no_grad(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            loaded.network,
            (loaded.example,),
            input_names=[loaded.input_name],
            output_names=list(loaded.output_names),
            dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=1024)},) if axes else None,
            opset_version=max(opset, RESIZE_OPSET),
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    for node in (*model.graph.node, *(node for each in model.functions for node in each.node)):
        node.ClearField("doc_string")
        del node.metadata_props[:]
    del model.metadata_props[:], model.graph.metadata_props[:]
    onnx.save(model, target)


def prepend_pixels(loaded: LoadedModel, source: Path, target: Path) -> None:
    """Write an ONNX graph of a user with the pixels' normalisation in front, and its outputs under the task's names.

    Raises BuildError for a graph that does not take float32 [N, C, H, W] alone.
    """
    model = onnx.load(source)
    graph = model.graph
    wrapper = loaded.network
    assert isinstance(wrapper, ImageClassifier)
    given = _pictures(graph, source, int(loaded.example.shape[3]))
    builder = _NodeBuilder()
    planes = builder.node("Transpose", loaded.input_name, perm=[0, 3, 1, 2])
    value = builder.node("Cast", planes, to=TensorProto.FLOAT)
    value = builder.node("Div", value, builder.constant(np.float32(255)))
    value = builder.node("Sub", value, builder.constant(wrapper.mean.float().numpy()))
    value = builder.node("Div", value, builder.constant(wrapper.std.float().numpy()))
    _read_instead(graph, given.name, value)
    _name_outputs(graph, loaded.output_names)
    nodes = [*builder.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(builder.constants)
    batch = "batch" if loaded.dynamic_axes.get(loaded.input_name) else 1
    shape = [batch, *loaded.example.shape[1:]]
    kind = TensorProto.UINT8 if loaded.example.dtype == torch.uint8 else TensorProto.FLOAT
    given.CopyFrom(helper.make_tensor_value_info(loaded.input_name, kind, shape))
    onnx.save(model, target)


def _pictures(graph: onnx.GraphProto, source: Path, channels: int) -> onnx.ValueInfoProto:
    """Return the one input of a graph. Raises BuildError for other inputs than pictures."""
    constants = {each.name for each in graph.initializer}
    inputs = [each for each in graph.input if each.name not in constants]
    dims = [dim.dim_value or dim.dim_param for each in inputs for dim in each.type.tensor_type.shape.dim]
    types = [each.type.tensor_type.elem_type for each in inputs]
    if types != [TensorProto.FLOAT] or len(dims) != 4 or (dims[1] not in (channels, "") and isinstance(dims[1], int)):
        listed = ", ".join(
            f"{each.name} ({TensorProto.DataType.Name(kind)})" for each, kind in zip(inputs, types, strict=True)
        )
        raise BuildError(
            f"{source}: takes {listed} of {dims}; an image model takes one FLOAT [N, {channels}, height, width]"
        )
    return inputs[0]


def _read_instead(graph: onnx.GraphProto, old: str, new: str) -> None:
    """Let the nodes read `new` where they read `old`, also those in the bodies of If, Loop and Scan."""
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                _read_instead(body, old, new)


def _name_outputs(graph: onnx.GraphProto, names: tuple[str, ...]) -> None:
    """Give the outputs the task's names: by their own where they have them, else in their order."""
    given = {output.name: output for output in graph.output}
    chosen = [given[name] for name in names] if set(names) <= set(given) else list(graph.output)[: len(names)]
    outputs = []
    for name, output in zip(names, chosen, strict=True):
        if output.name != name:
            graph.node.append(helper.make_node("Identity", [output.name], [name], name=f"named_{name}"))
        outputs.append(onnx.ValueInfoProto())
        outputs[-1].CopyFrom(output)
        outputs[-1].name = name
    del graph.output[:]
    graph.output.extend(outputs)


def trace(loaded: LoadedModel, target: Path, opset: int = OPSET) -> None:
    """Write the traced graph without optimisation."""
    with warnings.catch_warnings(), torch.no_grad():
        # The exporter warns that it is no longer the default; the module's docstring says why this format uses it.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.filterwarnings("ignore", category=torch.jit._trace.TracerWarning)  # _check_answers compares
        torch.onnx.export(
            scripted(loaded.network) or loaded.network,
            (loaded.example,),
            target,
            input_names=[loaded.input_name],
            output_names=list(loaded.output_names),
            dynamic_axes=loaded.dynamic_axes,
            opset_version=opset,
            dynamo=False,
        )


def optimise(traced: Path, target: Path) -> None:
    """Write the graph that ONNX Runtime makes before it considers the CPU."""
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(traced), options, providers=["CPUExecutionProvider"])


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

    def constant(self, value: Any) -> str:
        """Add a constant tensor."""
        name = f"prepare_constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
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
    if settings.channels != 3 or settings.letterbox:
        raise BuildError("preprocess_in_graph: the graph takes three channels and pads nothing")
    resize = settings.target
    smallest = (resize, resize) if isinstance(resize, int) else resize
    if settings.crop is not None and (settings.crop[0] > smallest[0] or settings.crop[1] > smallest[1]):
        raise BuildError("preprocess_in_graph: the crop is larger than the resized picture, and the graph pads nothing")
    model = onnx.load(path)
    graph = model.graph
    given = graph.input[0].name
    builder = _NodeBuilder()
    prepared = _resized(builder, given, settings)
    _read_instead(graph, given, prepared)
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
    if not isinstance(settings.target, int):
        return builder.number(settings.target[0]), builder.number(settings.target[1])
    shorter = builder.number(settings.target)
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
