"""Two rewrites of a quantised graph, without which an int8 MobileNetV3-Small is slower than the float one.

Pixels. A pixel is an 8-bit number already. The traced network turns it into a float and normalises it, and
quantisation would turn it back; for a MobileNetV3-Small that costs as much as half of its convolutions. `take_pixels`
moves the normalisation into the first convolution instead, whose quantised input are the pixels with scale 1:

    conv(W, ((x / 255) - mean) / std) + b   =   conv(W', x - z) + b'
    W' = W / (255 · std),   b' = b + sum of W' · (z - 255 · mean)

`z` is one whole number for all channels, because the convolution pads with it. Padding therefore means a grey of z
instead of the mean colour, at most some ten levels of 255 apart, at the outermost pixels. The parity gate measures it.

Hard sigmoids. ONNX Runtime has no 8-bit kernel for HardSigmoid. Each of the 28 in a MobileNetV3 would convert
8 bit → float → HardSigmoid → 8 bit. But clip(x / 6 + 1/2, 0, 1) is a quantised addition whose result has scale 1/255
and zero point 0, as it saturates at both ends, and x / 6 is the same 8-bit tensor with a sixth of its scale.
`quantise_hard_sigmoids` puts one 8-bit addition in place of three nodes.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CHAIN = ("Transpose", "Cast", "Div", "Sub", "Div", "Conv")
PIXELS = "pixel_values"
ALPHA, BETA = 0.2, 0.5  # ONNX's defaults of HardSigmoid


def take_pixels(graph: onnx.GraphProto) -> int | None:
    """Rewrite the start of a float graph in place and return z; return None for a graph with another start."""
    chain = _normalisation(graph)
    if chain is None:
        return None
    _, cast, levels, mean, deviation, conv = chain
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    highest = values[levels.input[1]].astype(np.float64).reshape(-1)
    weight = values[conv.input[1]] / (highest * values[deviation.input[1]].astype(np.float64).reshape(1, -1, 1, 1))
    centre = (highest * values[mean.input[1]].astype(np.float64).reshape(-1)) * np.ones(weight.shape[1])
    zero = int(np.clip(np.round((centre.min() + centre.max()) / 2), 0, 255))
    bias = values[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weight))
    _add_constant(graph, "pixel_weight", weight.astype(np.float32))
    shifted = bias + (weight.sum(axis=(2, 3)) * (zero - centre)).sum(axis=1)
    _add_constant(graph, "pixel_bias", shifted.astype(np.float32))
    _add_constant(graph, "pixel_scale", np.float32(1))
    _add_constant(graph, "pixel_zero", np.uint8(zero))
    position = list(graph.node).index(cast)
    for node in (cast, levels, mean, deviation):
        graph.node.remove(node)
    names = [cast.input[0], "pixel_scale", "pixel_zero"]
    graph.node.insert(position, helper.make_node("DequantizeLinear", names, [PIXELS], name=PIXELS))
    del conv.input[:]
    conv.input.extend([PIXELS, "pixel_weight", "pixel_bias"])
    _drop_unused_constants(graph)
    return zero


def join_pixels(graph: onnx.GraphProto) -> None:
    """Remove the pair of nodes that quantisation adds to quantise the pixels a second time."""
    quantise = next((node for node in graph.node if node.op_type == "QuantizeLinear" and node.input[0] == PIXELS), None)
    pixels = next((node for node in graph.node if node.name == PIXELS), None)
    if quantise is None or pixels is None:
        return
    for node in graph.node:
        if node.op_type == "DequantizeLinear" and node.input[0] == quantise.output[0]:
            del node.input[:]
            node.input.extend([pixels.input[0], "pixel_scale", "pixel_zero"])
    graph.node.remove(quantise)
    graph.node.remove(pixels)
    _drop_unused_constants(graph)


def quantise_hard_sigmoids(graph: onnx.GraphProto) -> int:
    """Rewrite every HardSigmoid between a DequantizeLinear and a QuantizeLinear; return their number."""
    makers = {name: node for node in graph.node for name in node.output}
    scales = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    done = 0
    for node in [node for node in graph.node if node.op_type == "HardSigmoid"]:
        before = makers.get(node.input[0])
        users = [user for user in graph.node if node.output[0] in user.input]
        if before is None or before.op_type != "DequantizeLinear":
            continue
        if len(users) != 1 or users[0].op_type != "QuantizeLinear":
            continue
        given = {each.name: float(each.f) for each in node.attribute}
        scale = np.float32(scales[before.input[1]] * given.get("alpha", ALPHA))
        _replace_by_addition(graph, (before, node, users[0]), scale, given.get("beta", BETA), done)
        done += 1
    _drop_unused_constants(graph)
    return done


def _replace_by_addition(graph: onnx.GraphProto, nodes: tuple[onnx.NodeProto, onnx.NodeProto, onnx.NodeProto],
                         scale: np.float32, beta: float, number: int) -> None:  # fmt: skip
    before, node, after = nodes
    name = f"hard_sigmoid_{number}"
    unit = _add_constant(graph, f"{name}_unit", np.float32(1 / 255))
    zero = _add_constant(graph, f"{name}_zero", np.uint8(0))
    half = [_add_constant(graph, f"{name}_half", np.uint8(255))]
    half += [_add_constant(graph, f"{name}_half_scale", np.float32(beta / 255)), zero]
    read = [before.input[0], _add_constant(graph, f"{name}_scale", scale), before.input[2]]
    position = list(graph.node).index(node)
    graph.node.remove(node)
    for made in (
        helper.make_node("Add", [f"{name}_x", f"{name}_b"], [node.output[0]], name=name),
        helper.make_node("DequantizeLinear", half, [f"{name}_b"], name=f"{name}_b"),
        helper.make_node("DequantizeLinear", read, [f"{name}_x"], name=f"{name}_x"),
    ):
        graph.node.insert(position, made)
    for user in (after, *(each for each in graph.node if after.output[0] in each.input)):
        user.input[1], user.input[2] = unit, zero


def _normalisation(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
    """Return the nodes from the input to the first convolution; None where the graph does not begin with CHAIN."""
    known = {initializer.name for initializer in graph.initializer}
    found: list[onnx.NodeProto] = []
    name = graph.input[0].name
    for kind in CHAIN:
        users = [node for node in graph.node if name in node.input]
        if len(users) != 1 or users[0].op_type != kind or users[0].input[0] != name:
            return None
        found.append(users[0])
        name = users[0].output[0]
    return found if all(node.input[1] in known for node in found[2:]) else None


def _add_constant(graph: onnx.GraphProto, name: str, value: NDArray[np.generic] | np.generic) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def _drop_unused_constants(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    for each in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(each)
