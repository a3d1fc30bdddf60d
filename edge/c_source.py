"""Writes a policy as C: `policy.h`, with the constants and the one function that `native/*.h` leave open."""

import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge.edge_policy import EdgePolicy, NormalizationConstants
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete

LANES = 8
"""The outputs that native/network.h computes at once; each layer is padded to a multiple of them."""


def policy_header(policy: EdgePolicy) -> str:
    """Return the text of `policy.h` for one policy."""
    parts = (_schema(policy), _action(policy), _constants(policy), _network(policy))
    guard = ("#ifndef EDGE_POLICY_H", "#define EDGE_POLICY_H", '#include "memory.h"', '#include "network.h"')
    return "\n".join((*guard, *parts, '#include "predict.h"', "#endif", ""))


def _schema(policy: EdgePolicy) -> str:
    seen, space = policy.observation, policy.space
    fields = seen.fields or ()
    bits = 8 * space.dtype.itemsize if space.dtype.kind == "f" else 0
    lines = [
        f"#define EDGE_MODEL {_text(policy.model)}",
        f"#define EDGE_VERSION {_text(policy.version)}",
        f"#define EDGE_HEAD {_text(_response_start(policy))}",
        f"#define EDGE_TAIL {_text(_response_end(policy))}",
        f"#define EDGE_SHAPE_ERROR {_text(_shape_error(policy))}",
        f"#define EDGE_FIELD_LIST {_text(', '.join(fields))}",
        f"enum {{ EDGE_DIMENSIONS = {len(space.shape)}, EDGE_SIZE = {policy.size}, EDGE_OUTPUTS = {policy.outputs} }};",
        f"#define EDGE_FIELDS {len(fields)}",
        f"enum {{ EDGE_FLOAT_BITS = {bits}, EDGE_CLIP = {int(seen.out_of_range == 'clip')} }};",
        f"static const size_t edge_shape[] = {{{_list(space.shape)}}};",
        f"static const edge_text edge_fields[] = {{{', '.join(_field(name) for name in fields or ('',))}}};",
        f"static const double edge_low[] = {{{_list(map(_real, space.low.ravel().tolist()))}}};",
        f"static const double edge_high[] = {{{_list(map(_real, space.high.ravel().tolist()))}}};",
    ]
    return "\n".join(lines)


def _response_start(policy: EdgePolicy) -> str:
    """Return the text in front of the predictions, as handlers/outputs writes it."""
    return f'{{"model":{json.dumps(policy.model)},"version":{json.dumps(policy.version)},"predictions":['


def _response_end(policy: EdgePolicy) -> str:
    return '],"weights":"random"}' if policy.weights == "random" else "]}"


def _shape_error(policy: EdgePolicy) -> str:
    """Return the error for an array of another shape, as handlers/observations.py writes it."""
    sizes = list(policy.space.shape)
    return f"an observation has shape {sizes}, many have [N, {', '.join(map(str, sizes))}]"


def _action(policy: EdgePolicy) -> str:
    names = ("DISCRETE", "MULTI_DISCRETE", "MULTI_BINARY", "CONTINUOUS")
    kinds = "".join(f"#define EDGE_{name} {number}\n" for number, name in enumerate(names))
    match policy.action:
        case Discrete(start=start):
            return f"{kinds}#define EDGE_ACTION EDGE_DISCRETE\nenum {{ EDGE_ACTION_START = {start} }};"
        case MultiDiscrete(nvec=nvec):
            return (
                f"{kinds}#define EDGE_ACTION EDGE_MULTI_DISCRETE\nstatic const int edge_choices[] = {{{_list(nvec)}}};"
            )
        case MultiBinary():
            return f"{kinds}#define EDGE_ACTION EDGE_MULTI_BINARY"
        case Box(shape=shape):
            sizes = f"static const size_t edge_action_shape[] = {{{_list(shape)}}};"
            return f"{kinds}#define EDGE_ACTION EDGE_CONTINUOUS\n{sizes}"


def _constants(policy: EdgePolicy) -> str:
    lines = []
    for number, (weight, bias) in enumerate(policy.layers):
        filled = -len(bias) % LANES
        columns = np.pad(weight.T, ((0, 0), (0, filled)))
        lines += [_array(f"edge_weight{number}", columns), _array(f"edge_bias{number}", np.pad(bias, (0, filled)))]
    return "\n".join(lines)


def _network(policy: EdgePolicy) -> str:
    widths = [len(bias) + -len(bias) % LANES for _, bias in policy.layers]
    inputs = policy.layers[0][0].shape[1]
    lines = [
        "static void edge_network(const float *restrict observation, float *restrict action) {",
        f"    _Alignas(64) float features[{inputs}];",
        f"    _Alignas(64) float even[{max(widths)}], odd[{max(widths)}];",
        *_encoding(policy),
    ]
    source, names = "features", ("even", "odd")
    for number, width in enumerate(widths):
        target, count = names[number % 2], policy.layers[number][0].shape[1]
        lines.append(
            f"    edge_linear({source}, {count}, edge_weight{number}, edge_bias{number}, {width // LANES}, {target});"
        )
        if number + 1 < len(widths) and policy.activation != "Identity":
            lines.append(f"    EDGE_ACTIVATE({policy.activation}, {target}, {width});")
        source = target
    return "\n".join((*lines, *_head(policy, source), "    (void) even, (void) odd;", "}"))


def _encoding(policy: EdgePolicy) -> Iterable[str]:
    if policy.normalization is not None:
        yield from _normalization(policy.normalization)
        return
    if policy.one_hot is None:
        divided = f" / {_float(policy.scale)}" if policy.scale != 1 else ""
        yield f"    for (int at = 0; at < {policy.size}; at++) features[at] = observation[at]{divided};"
        return
    start = 0
    for number, size in enumerate(policy.one_hot):
        yield f"    for (int at = 0; at < {size}; at++) features[{start} + at] = observation[{number}] == (float) at;"
        start += size


def _normalization(figures: NormalizationConstants) -> Iterable[str]:
    """Normalise in double, as handlers.policy_network.Normalize does."""
    yield f"    static const double mean[] = {{{_list(map(_real, figures.mean.tolist()))}}};"
    yield f"    static const double spread[] = {{{_list(map(_real, figures.spread.tolist()))}}};"
    yield f"    for (int at = 0; at < {len(figures.mean)}; at++) {{"
    yield "        double wide = ((double) observation[at] - mean[at]) / spread[at];"
    far = _real(figures.clip)
    yield f"        features[at] = (float) (wide < -{far} ? -{far} : wide > {far} ? {far} : wide);"
    yield "    }"


def _head(policy: EdgePolicy, source: str) -> Iterable[str]:
    space, count = policy.action, policy.outputs
    if not isinstance(space, Box):
        yield f"    memcpy(action, {source}, {count} * sizeof *action);"
        return
    low, high = space.low.ravel().astype(np.float32), space.high.ravel().astype(np.float32)
    yield f"    static const float low[] = {{{_list(map(_float, low.tolist()))}}};"
    yield f"    static const float high[] = {{{_list(map(_float, high.tolist()))}}};"
    yield f"    for (int at = 0; at < {count}; at++) {{"
    yield f"        float mean = {source}[at];"
    if policy.limit is not None:
        yield f"        mean = edge_least(edge_most(mean, {_float(-policy.limit)}), {_float(policy.limit)});"
    if policy.squash:
        yield "        action[at] = low[at] + 0.5f * (edge_Tanh(mean) + 1.0f) * (high[at] - low[at]);"
    else:
        yield "        action[at] = edge_least(edge_most(mean, low[at]), high[at]);"
    yield "    }"


def _array(name: str, values: NDArray[np.float32]) -> str:
    return (
        f"static const float {name}[] __attribute__((aligned(64))) = {{{_list(map(_float, values.ravel().tolist()))}}};"
    )


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _real(value: float) -> str:
    if math.isinf(value):
        return "INFINITY" if value > 0 else "-INFINITY"
    return float(value).hex()


def _float(value: float) -> str:
    return _real(value) + ("" if math.isinf(value) else "f")


def _field(name: str) -> str:
    return f"{{{_text(name)}, {len(name.encode())}}}"


def _text(text: str) -> str:
    """Return a C string of the same bytes."""
    plain = (
        chr(byte) if 0x20 <= byte < 0x7F and chr(byte) not in '"\\?' else f"\\{byte:03o}" for byte in text.encode()
    )
    return f'"{"".join(plain)}"'
