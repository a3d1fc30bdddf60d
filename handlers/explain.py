"""Explanations: integrated gradients by captum, over pixels or the fields of an observation.

Each attribution is the share of one input in the difference between the target's logit for this input and for a
baseline: the mean colour of the training pictures, or an observation of zeros. The shares of one instance add up to
that difference (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, 2017).

The first explanation imports captum, because importing it at the start would delay the start by a second.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.errors import InvalidFields, NotSupported
from handlers.runtimes import Runtime

STEPS = 64
"""Points between the baseline and the input; on the demo's classifier the shares then add up to within 2 %."""
AT_ONCE = 16
"""Points that the network computes together; they bound the memory of one explanation."""


def attributions(
    runtime: Runtime, inputs: NDArray[Any], baseline: NDArray[np.float32], targets: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Attribute the logits `targets` [k] to the inputs [k, ...] in the scale of the network's logits: [k, ...].

    `baseline` has the shape of one input, or of its last axes. Raises NotSupported where the format has no gradients,
    or captum is missing.
    """
    scores = getattr(runtime, "scores", None)
    if scores is None:
        raise NotSupported(
            "this artifact has no gradients; served_model.artifact=eager or torchscript builds one that has"
        )
    try:
        from captum.attr import IntegratedGradients
    except ImportError:
        raise NotSupported(
            "explanations need captum, which is not installed where the worker runs: "
            "pip install -r requirements-explain.txt"
        ) from None
    import torch

    start = torch.from_numpy(np.broadcast_to(baseline, inputs.shape).astype(np.float32))
    values = torch.from_numpy(inputs.astype(np.float32))
    method = IntegratedGradients(scores)
    found = [
        method.attribute(
            values[index : index + 1],
            baselines=start[index : index + 1],
            target=int(target),
            n_steps=STEPS,
            internal_batch_size=AT_ONCE,
        )
        for index, target in enumerate(targets)
    ]
    return np.asarray(torch.cat(found).numpy(), dtype=np.float64)


def split(row: Mapping[str, Any], body: Any) -> tuple[Any, Any]:
    """Return the class to explain, from a form field `target` or that key of the JSON, and the rest of the body."""
    if isinstance(body, dict) and "target" in body:
        return body["target"], {key: value for key, value in body.items() if key != "target"}
    return row.get("target"), body


def target(wanted: Any, names: tuple[str, ...], answered: int) -> int:
    """Return the class to explain: by the name or number in the request, or else the predicted one.

    Raises InvalidFields for an unknown class.
    """
    if wanted is None:
        return answered
    text = wanted.decode("utf-8", "replace") if isinstance(wanted, bytes | bytearray) else str(wanted)
    if text in names:
        return names.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(names):
        return int(text)
    raise InvalidFields(f"target: the model has no class {text[:40]!r}")
