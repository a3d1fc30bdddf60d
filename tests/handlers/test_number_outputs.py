"""The kinds `binary`, `regress` and `embed`, and probabilities that a network computes itself."""

import json
from typing import Any

import numpy as np
import pytest
from jsonschema import validate  # type: ignore[import-untyped]

from handlers import golden, outputs
from handlers.errors import Internal
from handlers.json_object import JsonObject
from handlers.outputs import binary, classify, compare_responses, embed, regress

KINDS = {kind.name: kind for kind in outputs.kinds()}
TWO = {"kind": "vision", "task": "binary", "labels": ["fine", "defect"]}
NUMBERS = {"names": ["age", "height"], "units": ["years", None]}


def answered(card: dict[str, Any], *rows: list[float]) -> list[dict[str, Any]]:
    kind = outputs.of_card(card)
    assert kind is not None
    settings = kind.settings(JsonObject(card, "model.json"))
    [output] = kind.network_outputs(settings)
    values = np.array(rows, dtype=np.float32)
    assert output.fits(values.shape[1:])
    found = kind.predictions({output.name: values}, settings)
    for each in found:
        validate(json.loads(json.dumps(each)), dict(kind.schema))
    return found


def regression(**output: Any) -> dict[str, Any]:
    return {"kind": "vision", "task": "regress", "output": NUMBERS | output}


def embedding(normalize: bool, size: int = 2) -> dict[str, Any]:
    return {"kind": "vision", "task": "embed", "output": {"size": size, "normalize": normalize}}


def response(prediction: Any) -> bytes:
    return json.dumps({"predictions": [prediction]}).encode()


@pytest.mark.parametrize("name", sorted(KINDS))
def test_example_of_every_kind_fits_its_schema(name: str) -> None:
    validate(dict(KINDS[name].example), dict(KINDS[name].schema))


def test_binary_threshold_decides_between_two_labels() -> None:
    card = TWO | {"output": {"activation": "sigmoid", "threshold": 0.7}}
    below, above = answered(card, [0.0], [2.0])
    assert below == {"label": "fine", "confidence": 0.5, "probabilities": {"fine": 0.5, "defect": 0.5}}
    assert above == {"label": "defect", "confidence": 0.880797, "probabilities": {"defect": 0.880797, "fine": 0.119203}}
    tensors = {each.name: each.joined([each.read(above)]) for each in outputs.output_tensors(card)}
    assert tensors["probabilities"] == ((1, 2), [0.119203, 0.880797])
    assert tensors["label"] == ((1,), ["defect"])


def test_binary_takes_probability_of_network_that_has_the_sigmoid() -> None:
    card = TWO | {"output": {"activation": "none", "threshold": 0.5}}
    assert [each["label"] for each in answered(card, [0.49], [0.5])] == ["fine", "defect"]


def test_values_that_should_be_probabilities_and_are_not_are_an_error() -> None:
    card = {"kind": "vision", "task": "classify", "labels": ["a", "b"], "output": {"activation": "none"}}
    assert answered(card, [0.25, 0.75])[0]["probabilities"] == {"b": 0.75, "a": 0.25}
    with pytest.raises(Internal, match=r"does not answer with probabilities; output\.activation is softmax"):
        answered(card, [-3.0, 5.0])


def test_regression_names_its_numbers_with_units_and_scales_them() -> None:
    assert answered(regression(), [31.25, 0.1]) == [
        {"values": {"age": 31.25, "height": 0.1}, "units": {"age": "years", "height": None}}
    ]
    [scaled] = answered(regression(scale=[10.0, 1.0], offset=[5.0, 0.0]), [0.5, -1.0])
    assert scaled["values"] == {"age": 10.0, "height": -1.0}
    [tensor] = outputs.output_tensors(regression())
    assert tensor.joined([tensor.read(scaled)]) == ((1, 2), [10.0, -1.0])


@pytest.mark.parametrize(
    ("card", "problem"),
    [
        (TWO | {"labels": ["a"], "output": {}}, "labels must be two for a binary model, not 1"),
        (TWO | {"output": {"activation": "sigmoid"}}, "threshold is missing"),
        (TWO | {"output": {"activation": "softmax", "threshold": 0.5}}, "activation must be one of sigmoid, none"),
        (regression(units=["years"]), "units must be 2, one for each name"),
        (regression(units="years"), "units must be a list of texts"),
        (regression(scale=[1.0]), "scale must be a list of 2 numbers"),
        (embedding(False, 0), "size must be a whole number of at least 1"),
        ({"kind": "vision", "task": "embed", "output": {"size": 2}}, "normalize is missing"),
    ],
)
def test_card_without_what_its_kind_needs_is_refused(card: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        answered(card, [0.0])


def test_embedding_is_normalized_where_the_card_says_so() -> None:
    assert answered(embedding(True), [3.0, 4.0], [0.0, 0.0]) == [{"embedding": [0.6, 0.8]}, {"embedding": [0.0, 0.0]}]
    assert answered(embedding(False), [3.0, 4.0]) == [{"embedding": [3.0, 4.0]}]
    [tensor] = outputs.output_tensors(embedding(True))
    assert (tensor.shape, tensor.read({"embedding": [0.6, 0.8]})) == ((-1, 2), [0.6, 0.8])


def test_golden_numbers_of_any_scale_are_compared_relatively() -> None:
    expected = [{"values": {"price": 250000.0}, "units": {"price": "EUR"}}]
    close = [{"values": {"price": 250010.0}, "units": {"price": "EUR"}}]
    assert golden.exceeds_tolerance(expected, close, 1e-4) is None
    far = [{"values": {"price": 250100.0}, "units": {"price": "EUR"}}]
    assert golden.exceeds_tolerance(expected, far, 1e-4) is not None
    assert golden.exceeds_tolerance(expected, [{"values": {"price": 250000.0}, "units": {}}], 1.0) is not None


@pytest.mark.parametrize(
    ("old", "new", "differs", "change"),
    [
        ({"values": {"a": 200.0}}, {"values": {"a": 200.1}}, False, 0.0005),
        ({"values": {"a": 200.0}}, {"values": {"a": 210.0}}, True, 10 / 210),
        ({"values": {"a": 1.0}}, {"values": {"b": 1.0}}, True, 0.0),
        ({"embedding": [1.0, 0.0]}, {"embedding": [2.0, 0.0]}, False, 0.0),
        ({"embedding": [1.0, 0.0]}, {"embedding": [1.0, 1.0]}, True, 1 - 0.5**0.5),
        ({"embedding": [1.0, 0.0]}, {"embedding": [1.0]}, True, 0.0),
        ({"embedding": [0.0, 0.0]}, {"embedding": [0.0, 0.0]}, False, 0.0),
    ],
)
def test_two_versions_are_compared_by_numbers_and_by_angle(old: Any, new: Any, differs: bool, change: float) -> None:
    found = compare_responses(response(old), response(new), 0.001)
    assert found.differs is differs
    assert found.change == pytest.approx(change, abs=1e-6)


def test_kinds_that_name_no_first_label_are_not_measured_by_it() -> None:
    assert {kind.name for kind in outputs.kinds() if kind.first_label} == {"classify", "multilabel"}
    assert not binary.KIND.recognizes(classify.KIND.example)
    assert [embed.KIND.name, regress.KIND.name] == ["embed", "regress"]
