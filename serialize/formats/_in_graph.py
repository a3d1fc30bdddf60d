"""Resize and centre crop as ONNX operators in front of a network, with dynamic height and width.

pixels: uint8 [batch, height, width, 3] of any size ─▶ Resize, antialiased ─▶ Slice ─▶ the network

The sizes are computed on torchvision's grid: the longer side is cut to whole pixels, half of what the crop leaves is
rounded to even. All in whole numbers, so that no machine rounds another way.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from errors import BuildError
from serialize.formats import _onnx
from settings.schema import Preprocessing

RESIZE_OPSET = 18  # the first whose Resize can antialias
# Without "nearest": where a centre falls between two pixels, ONNX Runtime takes another one than Pillow.
MODES = {"bilinear": "linear", "bicubic": "cubic"}
CUBIC = -0.5  # Pillow's and torchvision's coefficient


@dataclass(frozen=True)
class _Maker:
    """Nodes and constants in the order they are made; each method returns the name of its result."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def number(self, *values: int) -> str:
        """A constant list of whole numbers."""
        name = f"prepare_number_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, dtype=np.int64), name))
        return name

    def do(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One node."""
        name = f"prepare_{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name


def prepend(path: Path, settings: Preprocessing) -> None:
    """Rewrites the graph at `path`, which takes pictures of the network's size, to take those of any size.

    Raises BuildError where the crop is larger than what is resized, as the graph pads nothing, and for `nearest`.
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
    maker = _Maker()
    prepared = _prepare(maker, given, settings)
    for node in graph.node:
        for place, name in enumerate(node.input):
            if name == given:
                node.input[place] = prepared
    nodes = [*maker.nodes, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    graph.initializer.extend(maker.constants)
    graph.input[0].CopyFrom(helper.make_tensor_value_info(given, TensorProto.UINT8, ["batch", "height", "width", 3]))
    onnx.checker.check_model(model)
    joined = path.with_suffix(".joined")
    try:
        onnx.save(model, joined)
        _onnx.optimise(joined, path)
    finally:
        joined.unlink(missing_ok=True)


def _prepare(maker: _Maker, given: str, settings: Preprocessing) -> str:
    zero, one, two = maker.number(0), maker.number(1), maker.number(2)
    shape = maker.do("Shape", given)
    batch, rows, columns = (maker.do("Gather", shape, index, axis=0) for index in (zero, one, two))
    high, wide = _grid(maker, rows, columns, settings)
    sizes = maker.do("Concat", batch, maker.number(3), high, wide, axis=0)
    planes = maker.do("Transpose", given, perm=[0, 3, 1, 2])
    result = maker.do(
        "Resize",
        *(planes, "", "", sizes),
        mode=MODES[settings.interpolation],
        coordinate_transformation_mode="half_pixel",
        antialias=1,
        cubic_coeff_a=CUBIC,
        exclude_outside=1,  # at the edges, Pillow weighs what is there; by default ONNX repeats the outermost pixel
    )
    if settings.crop is not None:
        firsts = [_first(maker, *side) for side in zip((high, wide), settings.crop, strict=True)]
        starts = maker.do("Concat", *firsts, axis=0)
        ends = maker.do("Add", starts, maker.number(*settings.crop))
        result = maker.do("Slice", result, starts, ends, maker.number(2, 3))
    return maker.do("Transpose", result, perm=[0, 2, 3, 1])


def _grid(maker: _Maker, rows: str, columns: str, settings: Preprocessing) -> tuple[str, str]:
    if not isinstance(settings.resize, int):
        return maker.number(settings.resize[0]), maker.number(settings.resize[1])
    shorter = maker.number(settings.resize)
    product = maker.do("Mul", shorter, maker.do("Max", rows, columns))
    longer = maker.do("Div", product, maker.do("Min", rows, columns))
    upright = maker.do("GreaterOrEqual", rows, columns)
    return maker.do("Where", upright, longer, shorter), maker.do("Where", upright, shorter, longer)


def _first(maker: _Maker, grid: str, kept: int) -> str:
    """First kept pixel of an axis: half of the rest; a half pixel goes to the even neighbour."""
    two = maker.number(2)
    rest = maker.do("Sub", grid, maker.number(kept))
    half = maker.do("Div", rest, two)
    odd = maker.do("Mod", rest, two)
    return maker.do("Add", half, maker.do("Mul", odd, maker.do("Mod", half, two)))
