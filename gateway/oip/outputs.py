"""Predictions → tensors: what each kind of model answers, and where in a prediction each element stands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.model_card import ModelCard, kind_of
from gateway.oip.tensors import BYTES, TensorSpec

Prediction = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Output:
    """One output tensor.

    `read` gives the elements of one instance, flat; `labels` names the elements of a row of classes, where they are
    some, so that a client can ask for the best few of them.
    """

    spec: TensorSpec
    read: Callable[[Prediction], list[Any]]
    labels: tuple[str, ...] = ()


def outputs_of(card: ModelCard) -> tuple[Output, ...]:
    """All outputs of a model in the order in which they are answered; none without a card."""
    kind = kind_of(card)
    if kind == "policy":
        return (_action((card.get("action") or {}).get("space") or {}),)
    return _classes(card) if kind == "vision" else ()


def _action(space: Mapping[str, Any]) -> Output:
    inner = {
        "box": tuple(space.get("shape") or ()),
        "multi_discrete": (len(space.get("nvec") or ()),),
        "multi_binary": (int(space.get("n") or 0),),
    }.get(str(space.get("type")), ())
    datatype = "FP32" if space.get("type") == "box" else "INT64"
    return Output(TensorSpec("action", datatype, (-1, *inner)), lambda prediction: _flat(prediction["action"]))


def _classes(card: ModelCard) -> tuple[Output, ...]:
    labels, settings = tuple(card.get("labels") or ()), card.get("output") or {}
    top_k = settings.get("top_k")
    listed = _best(min(top_k, len(labels)), labels) if top_k else (_every(labels),)
    if settings.get("activation") == "sigmoid":
        return (*listed, _held(labels, listed[0]))
    label = Output(TensorSpec("label", BYTES, (-1,)), lambda prediction: [prediction["label"]])
    confidence = Output(TensorSpec("confidence", "FP32", (-1,)), lambda prediction: [prediction["confidence"]])
    return (*listed, label, confidence)


def _every(labels: tuple[str, ...]) -> Output:
    """All classes in the order of the labels; one that business logic took out counts 0."""
    spec = TensorSpec("probabilities", "FP32", (-1, len(labels)))
    return Output(spec, lambda prediction: [prediction["probabilities"].get(name, 0.0) for name in labels], labels)


def _best(count: int, labels: tuple[str, ...]) -> tuple[Output, ...]:
    """The `count` classes that the model answers, the likeliest first, and their names."""

    def chances(prediction: Prediction) -> list[Any]:
        return _filled(list(prediction["probabilities"].values()), count, 0.0)

    def names(prediction: Prediction) -> list[Any]:
        return _filled(list(prediction["probabilities"]), count, "")

    shape = (-1, count)
    return (
        Output(TensorSpec("probabilities", "FP32", shape), chances),
        Output(TensorSpec("labels", BYTES, shape), names),
    )


def _held(labels: tuple[str, ...], listed: Output) -> Output:
    """Which classes reach their threshold, class by class beside `probabilities`."""
    count = listed.spec.shape[1]

    def read(prediction: Prediction) -> list[Any]:
        names = labels if listed.labels else list(prediction["probabilities"])
        return _filled([name in prediction["labels"] for name in names], count, False)

    return Output(TensorSpec("holds", "BOOL", (-1, count)), read)


def _filled(values: list[Any], count: int, nothing: Any) -> list[Any]:
    return [*values, *[nothing] * (count - len(values))][:count]


def _flat(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [leaf for item in value for leaf in _flat(item)]
