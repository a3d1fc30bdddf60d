"""Network outputs → what a client reads.

Probabilities are computed in 64 bits and rounded to 6 decimals, about what 32-bit logits carry. Continuous actions are
not rounded: each is the shortest decimal number that is its 32-bit float.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers import actions
from handlers.card import Card, Output
from handlers.errors import Internal, RequestError

DECIMALS = 6


def predictions(outputs: Mapping[str, NDArray[Any]], card: Card) -> list[dict[str, Any]]:
    """Word the outputs for k instances as k predictions, in order; raises Internal when a number is not finite."""
    values = outputs[card.network_output[0]]
    if not np.isfinite(values).all():
        raise Internal("the network's output is not finite")
    if card.vision is not None:
        return classes(values, card.vision.labels, card.vision.output)
    assert card.policy is not None
    chosen = actions.actions(values, card.policy.action, card.policy.distribution, outputs)
    return [{"action": action} for action in chosen]


def classes(logits: NDArray[Any], labels: Sequence[str], output: Output) -> list[dict[str, Any]]:
    """Word logits [k, classes] of a picture model.

    softmax: the likeliest label, its confidence, and the probabilities of all classes or of the `top_k`, falling.
    sigmoid: every label whose probability reaches its threshold, and the probabilities likewise.
    """
    wide = logits.astype(np.float64)
    chances = softmax(wide) if output.activation == "softmax" else sigmoid(wide)
    # A stable sort of the negated values: equal classes stay in the order of the labels.
    order = np.argsort(-chances, axis=1, kind="stable")[:, : output.top_k]
    listed = np.round(np.take_along_axis(chances, order, axis=1), DECIMALS).tolist()
    named = [
        {labels[index]: chance for index, chance in zip(row, values, strict=True)}
        for row, values in zip(order.tolist(), listed, strict=True)
    ]
    if output.activation == "sigmoid":
        holds = chances >= np.array(output.thresholds)
        return [_multi_label(row, labels, held) for row, held in zip(named, holds, strict=True)]
    return [_single_label(row) for row in named]


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities that sum to 1 along the last axis; the largest logit is subtracted so that none overflows."""
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Independent probabilities; written with tanh, which does not overflow."""
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * logits)))


def encode(card: Card, version: str, what: str, items: list[dict[str, Any]]) -> bytes:
    """Encode the answer to one request, its items under `what`; `weights` is named where they are random."""
    document: dict[str, Any] = {"model": card.model_name, "version": version, what: items}
    if card.weights == "random":
        document["weights"] = "random"
    return encode_document(document)


def encode_error(error: RequestError) -> bytes:
    """Encode what a request without predictions is told."""
    return encode_document({"error": error.code, "detail": error.detail})


def encode_document(document: dict[str, Any]) -> bytes:
    """Encode as compact JSON, in ASCII only: an error may echo half a surrogate pair, which UTF-8 cannot hold."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def _single_label(probabilities: dict[str, float]) -> dict[str, Any]:
    label = next(iter(probabilities))
    return {"label": label, "confidence": probabilities[label], "probabilities": probabilities}


def _multi_label(probabilities: dict[str, float], labels: Sequence[str], held: NDArray[np.bool_]) -> dict[str, Any]:
    named = [label for label, holds in zip(labels, held.tolist(), strict=True) if holds]
    return {"labels": named, "probabilities": probabilities}
