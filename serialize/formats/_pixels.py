"""Rewrites the start of a quantised picture network so that the first convolution takes the pixels as they are.

A pixel is an 8-bit number already. Traced, the network turns it into a float, normalises it, and would quantise it
again: for a MobileNetV3-Small that costs as much as half of its convolutions. Instead the normalisation goes into the
weights and the bias of the first convolution, and the pixels become its quantised input with scale 1:

    conv(W, ((x / 255) - mean) / std) + b   =   conv(W', x - z) + b'
    W' = W / (255 · std),   b' = b + sum of W' · (z - 255 · mean)

`z` has to be one whole number for all channels, because the convolution pads with it. Padding therefore means a grey of
z instead of the mean colour, at most some ten levels of 255 apart, at the outermost pixels; the gate measures it.
"""

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

CHAIN = ("Transpose", "Cast", "Div", "Sub", "Div", "Conv")
PIXELS = "pixel_values"


def take_pixels(graph: onnx.GraphProto) -> int | None:
    """Rewrites a float graph in place and returns z; None, and nothing done, where it begins in another way."""
    chain = _chain(graph)
    if chain is None:
        return None
    _, cast, levels, mean, deviation, conv = chain
    values = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    highest = values[levels.input[1]].astype(np.float64).reshape(-1)
    centre = (highest * values[mean.input[1]].astype(np.float64).reshape(-1)) * np.ones(3)
    weight = values[conv.input[1]] / (highest * values[deviation.input[1]].astype(np.float64).reshape(1, -1, 1, 1))
    zero = int(np.clip(np.round((centre.min() + centre.max()) / 2), 0, 255))
    bias = values[conv.input[2]] if len(conv.input) > 2 else np.zeros(len(weight))
    put(graph, "pixel_weight", weight.astype(np.float32))
    put(graph, "pixel_bias", (bias + (weight.sum(axis=(2, 3)) * (zero - centre)).sum(axis=1)).astype(np.float32))
    put(graph, "pixel_scale", np.float32(1))
    put(graph, "pixel_zero", np.uint8(zero))
    place = list(graph.node).index(cast)
    for node in (cast, levels, mean, deviation):
        graph.node.remove(node)
    names = [cast.input[0], "pixel_scale", "pixel_zero"]
    graph.node.insert(place, helper.make_node("DequantizeLinear", names, [PIXELS], name=PIXELS))
    del conv.input[:]
    conv.input.extend([PIXELS, "pixel_weight", "pixel_bias"])
    drop_unused(graph)
    return zero


def join_pixels(graph: onnx.GraphProto) -> None:
    """After quantisation: takes out the pair that would quantise the pixels, which are quantised, once more."""
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
    drop_unused(graph)


def put(graph: onnx.GraphProto, name: str, value: NDArray[np.generic] | np.generic) -> str:
    """Adds a constant to the graph and returns its name."""
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return name


def drop_unused(graph: onnx.GraphProto) -> None:
    """Takes out the constants that no node reads any more."""
    used = {name for node in graph.node for name in node.input}
    for each in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(each)


def _chain(graph: onnx.GraphProto) -> list[onnx.NodeProto] | None:
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
