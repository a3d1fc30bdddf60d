"""Rewrites HardSigmoid in a quantised graph, where ONNX Runtime has no 8-bit kernel for it.

MobileNetV3 has 28 of them, and each would go the way 8 bit → float → HardSigmoid → 8 bit. But clip(x / 6 + 1/2, 0, 1)
is what a quantised addition does when its result has the scale 1/255 and the zero point 0: it saturates at both ends.
And x / 6 is the same 8-bit tensor read with a sixth of its scale. So one 8-bit addition takes the place of three nodes.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from serialize.formats._pixels import drop_unused, put

ALPHA, BETA = 0.2, 0.5  # ONNX's defaults


def quantise_hard_sigmoids(graph: onnx.GraphProto) -> int:
    """Rewrites every HardSigmoid between a DequantizeLinear and a QuantizeLinear; returns how many there were."""
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
        _replace(graph, node, before, users[0], scale, given.get("beta", BETA), done)
        done += 1
    drop_unused(graph)
    return done


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, before: onnx.NodeProto, after: onnx.NodeProto,
             scale: np.float32, beta: float, number: int) -> None:  # fmt: skip
    name = f"hard_sigmoid_{number}"
    unit, zero = put(graph, f"{name}_unit", np.float32(1 / 255)), put(graph, f"{name}_zero", np.uint8(0))
    half = [put(graph, f"{name}_half", np.uint8(255)), put(graph, f"{name}_half_scale", np.float32(beta / 255)), zero]
    read = [before.input[0], put(graph, f"{name}_scale", scale), before.input[2]]
    place = list(graph.node).index(node)
    graph.node.remove(node)
    for made in (
        helper.make_node("Add", [f"{name}_x", f"{name}_b"], [node.output[0]], name=name),
        helper.make_node("DequantizeLinear", half, [f"{name}_b"], name=f"{name}_b"),
        helper.make_node("DequantizeLinear", read, [f"{name}_x"], name=f"{name}_x"),
    ):
        graph.node.insert(place, made)
    for user in (after, *(each for each in graph.node if after.output[0] in each.input)):
        user.input[1], user.input[2] = unit, zero
