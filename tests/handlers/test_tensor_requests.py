"""The JSON of requests to models of kind `tensors`: by name, as rows, in batches; what is refused, and how alone."""

import base64
from typing import Any

import numpy as np
import pytest

from handlers import tensor_requests
from handlers.errors import InvalidFields
from handlers.json_object import JsonObject
from handlers.outputs.tensors import REFUSED
from handlers.signature import NUMPY, Signature, read_signature

OUTPUTS: list[dict[str, Any]] = [{"name": "y", "datatype": "FP32", "shape": []}]
TWO: list[dict[str, Any]] = [
    {"name": "a", "datatype": "INT32", "shape": [2]},
    {"name": "b", "datatype": "FP32", "shape": [-1, 2]},
]
AGE: dict[str, Any] = {"name": "age", "unit": "years", "low": 0, "high": 120}
JOB: dict[str, Any] = {"name": "job", "categories": ["nurse", "pilot"]}
TABLE: list[dict[str, Any]] = [{"name": "row", "datatype": "FP32", "shape": [2], "columns": [AGE, JOB]}]
COLUMNS: list[dict[str, Any]] = [
    {"name": "age", "datatype": "INT64", "shape": [1], "columns": [AGE]},
    {"name": "job", "datatype": "BYTES", "shape": [], "columns": [JOB]},
]


def signature(inputs: list[dict[str, Any]], batched: bool = True) -> Signature:
    return read_signature(JsonObject({"batched": batched, "inputs": inputs, "outputs": OUTPUTS}, "signature"))


def read(inputs: list[dict[str, Any]], payload: Any, batched: bool = True) -> dict[str, Any]:
    found = tensor_requests.read(payload, signature(inputs, batched))
    assert not found.options
    return {name: found.inputs[name].tolist() for name in found.inputs.dtype.names or ()}


def refusal(inputs: list[dict[str, Any]], payload: Any, batched: bool = True) -> str:
    with pytest.raises(InvalidFields) as caught:
        tensor_requests.read(payload, signature(inputs, batched))
    return caught.value.detail


@pytest.mark.parametrize("name", NUMPY)
def test_elements_of_every_datatype_keep_their_values(name: str) -> None:
    special: dict[str, list[Any]] = {"BOOL": [True, False], "BYTES": ["a", "é"]}
    values = special.get(name, [0, 1])
    found = tensor_requests.read({"x": values}, signature([{"name": "x", "datatype": name, "shape": [2]}])).inputs["x"]
    assert found.dtype == np.dtype(NUMPY[name])
    assert found.tolist() == [[value.encode() if name == "BYTES" else value for value in values]]


def test_whole_tensors_have_instances_along_their_first_axis() -> None:
    payload = {"inputs": {"a": [[1, 2], [3, 4]], "b": [[[1, 2]], [[3, 4]]]}}
    found = tensor_requests.read(payload, signature(TWO)).inputs
    assert found["a"].tolist() == [[1, 2], [3, 4]]
    assert [each.tolist() for each in found["b"]] == [[[1.0, 2.0]], [[3.0, 4.0]]]


def test_a_model_without_batches_takes_one_instance_as_it_is() -> None:
    found = tensor_requests.read({"inputs": {"a": [1, 2], "b": [[1, 2], [3, 4]]}}, signature(TWO, batched=False)).inputs
    assert len(found) == 1
    assert found["b"][0].tolist() == [[1.0, 2.0], [3.0, 4.0]]


def test_instances_may_differ_along_a_dynamic_axis() -> None:
    rows = [{"a": [1, 2], "b": [[1, 2]]}, {"a": [3, 4], "b": [[1, 2], [3, 4], [5, 6]]}]
    found = tensor_requests.read({"instances": rows}, signature(TWO)).inputs
    assert [each.shape for each in found["b"]] == [(1, 2), (3, 2)]


def test_bytes_that_are_no_text_come_as_base64() -> None:
    inputs: list[dict[str, Any]] = [{"name": "x", "datatype": "BYTES", "shape": [2]}]
    payload = {"x": [{"b64": base64.b64encode(b"\xff\x00").decode()}, ""]}
    assert read(inputs, payload) == {"x": [[b"\xff\x00", b""]]}
    assert "b64 is not base64" in refusal(inputs, {"x": [{"b64": "?"}, ""]})
    assert "must be text" in refusal(inputs, {"x": [1, ""]})


@pytest.mark.parametrize(
    "payload",
    [
        {"age": 41, "job": "pilot"},
        {"instances": [{"job": "pilot", "age": 41}]},
        {"inputs": {"age": [41], "job": ["pilot"]}},
    ],
)
def test_rows_of_columns_become_the_tensor_that_the_network_takes(payload: Any) -> None:
    assert read(TABLE, payload) == {"row": [[41.0, 1.0]]}
    assert read(COLUMNS, payload) == {"age": [[41]], "job": [b"pilot"]}


def test_a_table_also_takes_whole_tensors_within_the_bounds() -> None:
    assert read(TABLE, {"inputs": {"row": [[41, 1], [30, 0]]}}) == {"row": [[41.0, 1.0], [30.0, 0.0]]}
    assert refusal(TABLE, {"inputs": {"row": [[41, 1], [130, 0]]}}) == "age is 130, outside of 0 to 120 years"
    assert refusal(TABLE, {"inputs": {"row": [[41, 2]]}}) == "job is 2, outside of 0 to 1"
    assert read(COLUMNS, {"inputs": {"age": [[41]], "job": ["pilot"]}}) == {"age": [[41]], "job": [b"pilot"]}


@pytest.mark.parametrize("values", [["pilot", "nurse"], [1, 0]])
def test_a_tensor_of_the_name_of_its_column_has_texts_or_indices(values: list[Any]) -> None:
    inputs: list[dict[str, Any]] = [{"name": "job", "datatype": "INT32", "shape": [], "columns": [JOB]}]
    assert read(inputs, {"inputs": {"job": values}}) == {"job": [1, 0]}


def test_a_bad_row_is_refused_alone() -> None:
    rows = [
        {"age": 41, "job": "nurse"},
        {"age": 200, "job": "nurse"},
        {"age": 30, "job": "baker"},
        {"age": 5, "job": "pilot"},
    ]
    found = tensor_requests.read({"instances": rows}, signature(TABLE))
    assert found.inputs["row"][[0, 3]].tolist() == [[41.0, 0.0], [5.0, 1.0]]
    assert [error and error.detail for error in found.options[REFUSED]] == [
        None,
        "age is 200, outside of 0 to 120 years",
        "job: 'baker' is none of nurse, pilot",
        None,
    ]


def test_a_request_of_bad_rows_only_is_refused() -> None:
    rows = [{"age": 200, "job": "nurse"}, {"age": 30}]
    assert refusal(TABLE, {"instances": rows}) == "instances[0]: age is 200, outside of 0 to 120 years"


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ([1, 2], "the body must be an object"),
        ({"inputs": [1]}, "inputs must be an object of tensors by name"),
        ({"a": [1, 2]}, "missing: b; the names are a, b"),
        ({"a": [1, 2], "b": [[1, 2]], "c": 1}, "unknown: c; the names are a, b"),
        ({"a": [1, 2.5], "b": [[1, 2]]}, "a: a fractional number instead of a whole number"),
        ({"a": [1, True], "b": [[1, 2]]}, "a: a boolean instead of a whole number"),
        ({"a": [1, 2**31], "b": [[1, 2]]}, "a: a number is outside of INT32"),
        ({"a": [1, 2], "b": [[1, 1e39]]}, "b: a number is not finite, or outside of FP32"),
        ({"a": [1, 2, 3], "b": [[1, 2]]}, "a: must have shape [2], not [3]"),
        ({"a": [1, 2], "b": [1, 2]}, "b: must have shape [-1, 2], not [2]"),
        ({"a": [1, 2], "b": [[1, 2], [3]]}, "b: lists at the same level must have the same length"),
        ({"inputs": {"a": [[1, 2]], "b": []}}, "b: must have shape [-1, -1, 2], not [0]"),
        ({"inputs": {"a": [[1, 2], [1, 2]], "b": [[[1, 2]]]}}, "the inputs must hold equal numbers of instances"),
        ({"instances": []}, "instances must be a list that is not empty"),
        ({"instances": [3]}, "an instance must be an object of a, b"),
    ],
)
def test_what_does_not_fit_the_signature_is_refused_with_its_name(payload: Any, text: str) -> None:
    assert text in refusal(TWO, payload)


@pytest.mark.parametrize("payload", [{"age": "old", "job": "nurse"}, {"age": None, "job": "nurse"}])
def test_a_value_of_a_wrong_type_is_refused_by_the_name_of_its_column(payload: Any) -> None:
    assert refusal(TABLE, payload).startswith("age: ")
    assert refusal(COLUMNS, payload).startswith("age: ")


def test_bounds_of_an_input_hold_for_each_of_its_numbers() -> None:
    inputs: list[dict[str, Any]] = [{"name": "tokens", "datatype": "INT64", "shape": [-1], "low": 0, "high": 99}]
    assert refusal(inputs, {"tokens": [3, 100]}) == "tokens[1] is 100, outside of 0 to 99"


@pytest.mark.parametrize("inputs", [TWO, TABLE, COLUMNS])
@pytest.mark.parametrize("batched", [True, False])
def test_generated_instances_are_accepted(inputs: list[dict[str, Any]], batched: bool) -> None:
    made = signature(inputs, batched)
    instances = [made.example(number) for number in range(50)]
    found = tensor_requests.read({"instances": instances}, made)
    assert not found.options
    assert len(found.inputs) == 50
    assert len({str(each) for each in instances}) > 10
