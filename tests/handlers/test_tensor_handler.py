"""A worker of a `tensors` model: requests of one batch are independent, and its golden answers are checked."""

import json
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper

from tests.handlers.archives import sample, write
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, parsed
from tests.onnx_graphs import Port, axes, write_graph

ENTRY = "tensor_handler.py"
AGE = {"name": "age", "low": 0, "high": 120}


def tensors_card(inputs: list[dict[str, Any]], outputs: list[dict[str, Any]], batched: bool = True) -> dict[str, Any]:
    return {
        "schema_version": 1,
        "model_name": "sums",
        "kind": "tensors",
        "description": "Sums.",
        "weights": "trained",
        "artifact": {"format": "onnx", "file": "model.onnx"},
        "request_params": {"batch_size": 4, "max_batch_delay": 1, "initial_workers": 1},
        "limits": {"max_instances": 3},
        "signature": {"batched": batched, "inputs": inputs, "outputs": outputs},
    }


def sums(folder: Path, batched: bool = True, expected: float = 3.0, **changes: Any) -> Path:
    """A model that answers the sum along the last axis of any length, and its input doubled."""
    shape = ("N", "M") if batched else ("M",)
    nodes = [
        axes(-1),
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "x"], ["twice"]),
    ]
    inputs: list[dict[str, Any]] = [{"name": "x", "datatype": "FP32", "shape": [-1]} | changes]
    outputs: list[dict[str, Any]] = [
        {"name": "sum", "datatype": "FP32", "shape": []},
        {"name": "twice", "datatype": "FP32", "shape": [-1]},
    ]
    is_table = "columns" in changes
    body = {"age": 3.0} if is_table else {"x": [1.0, 2.0]}
    prediction = {"outputs": {"sum": expected, "twice": [6.0] if is_table else [2.0, 4.0]}}
    answers = {"tolerance": 1e-4, "samples": [sample("application/json", json.dumps(body).encode(), [prediction])]}
    write(folder, ENTRY, tensors_card(inputs, outputs, batched), answers)
    answered: list[Port] = [("sum", TensorProto.FLOAT, shape[:-1]), ("twice", TensorProto.FLOAT, shape)]
    write_graph(folder / "model.onnx", nodes, [("x", TensorProto.FLOAT, shape)], answered)
    return folder


def test_requests_of_different_lengths_share_a_batch_and_keep_their_order(load: Load, tmp_path: Path) -> None:
    worker = load(sums(tmp_path / "model"), ENTRY)
    several = {"instances": [{"x": [1]}, {"x": [1, 2, 3]}, {"x": [5]}]}
    first, second, third = worker.answer(parsed({"x": [1, 1]}), parsed(several), parsed({"inputs": {"x": [[2, 2]]}}))
    assert first.predictions == [{"outputs": {"sum": 2.0, "twice": [2.0, 2.0]}}]
    assert [each["outputs"]["sum"] for each in second.predictions] == [1.0, 6.0, 5.0]
    assert third.predictions == [{"outputs": {"sum": 4.0, "twice": [4.0, 4.0]}}]


def test_a_bad_request_fails_alone(load: Load, tmp_path: Path) -> None:
    worker = load(sums(tmp_path / "model"), ENTRY)
    good, bad, large = worker.answer(
        parsed({"x": [1]}), parsed({"x": ["one"]}), parsed({"instances": [{"x": [1]}] * 4})
    )
    assert good.predictions == [{"outputs": {"sum": 1.0, "twice": [2.0]}}]
    assert bad.error == (422, "invalid_fields")
    assert large.error == (413, "too_large")


def test_a_bad_row_gets_its_error_between_the_answers_of_others(load: Load, tmp_path: Path) -> None:
    worker = load(sums(tmp_path / "model", shape=[1], columns=[AGE]), ENTRY)
    rows = {"instances": [{"age": 1}, {"age": 300}, {"age": 3}]}
    first, refused, last = worker.one(parsed(rows)).predictions
    assert (first["outputs"]["sum"], last["outputs"]["sum"]) == (1.0, 3.0)
    assert refused == {"error": "invalid_fields", "detail": "age is 300, outside of 0 to 120"}


def test_a_model_without_batches_answers_each_instance_by_itself(load: Load, tmp_path: Path) -> None:
    worker = load(sums(tmp_path / "model", batched=False), ENTRY)
    first, second = worker.answer(parsed({"inputs": {"x": [1, 2]}}), parsed({"instances": [{"x": [1]}, {"x": [2]}]}))
    assert first.predictions == [{"outputs": {"sum": 3.0, "twice": [2.0, 4.0]}}]
    assert [each["outputs"]["sum"] for each in second.predictions] == [1.0, 2.0]


def test_a_worker_with_other_answers_than_the_golden_ones_does_not_start(load: Load, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"golden answer 0 differs: .*sum is 3.0 instead of 4.0"):
        load(sums(tmp_path / "model", expected=4.0), ENTRY)


def test_a_graph_of_other_outputs_than_declared_does_not_start(load: Load, tmp_path: Path) -> None:
    folder = sums(tmp_path / "model")
    card = json.loads((folder / "model.json").read_text())
    card["signature"]["outputs"][0]["datatype"] = "INT64"
    (folder / "model.json").write_text(json.dumps(card))
    with pytest.raises(ValueError, match=r"must return sum as INT64 \[1\], it returned float32 \[1\]"):
        load(folder, ENTRY)


def test_a_row_that_is_answered_with_no_finite_number_is_refused_alone(load: Load, tmp_path: Path) -> None:
    worker = load(sums(tmp_path / "model"), ENTRY)
    rows = {"instances": [{"x": [1, 2, 3]}, {"x": [3e38, 3e38]}, {"x": ["one"]}]}
    first, broken, refused = worker.one(parsed(rows)).predictions
    assert first["outputs"]["sum"] == 6.0
    assert broken == {"error": "internal", "detail": "the network's output is not finite"}
    assert refused["error"] == "invalid_fields"


def test_text_that_a_graph_cannot_read_is_refused_alone(load: Load, tmp_path: Path) -> None:
    worker = load(echo(tmp_path / "model"), ENTRY)
    runs = counted_runs(worker)
    raw = {"b64": "/w=="}
    some, whole, good = worker.answer(
        parsed({"instances": [{"x": "é"}, {"x": raw}]}), parsed({"inputs": {"x": [raw]}}), parsed({"x": "a"})
    )
    assert some.predictions[0] == {"outputs": {"y": "é"}}
    assert some.predictions[1]["error"] == "invalid_fields"
    assert whole.error == (422, "invalid_fields")
    assert good.predictions == [{"outputs": {"y": "a"}}]
    assert runs == [3]


def counted_runs(worker: Worker) -> list[int]:
    """Return the list to which each run of the network adds its instances."""
    handler = worker.service._entry_point.__self__
    runs: list[int] = []
    model = handler.model

    def counted(inputs: Any) -> Any:
        runs.append(len(inputs))
        return model(inputs)

    handler.model = counted
    return runs


def echo(folder: Path) -> Path:
    """A model that answers its text."""
    body = json.dumps({"x": "a"}).encode()
    answers = {"tolerance": 0, "samples": [sample("application/json", body, [{"outputs": {"y": "a"}}])]}
    text: dict[str, Any] = {"datatype": "BYTES", "shape": []}
    write(folder, ENTRY, tensors_card([{"name": "x"} | text], [{"name": "y"} | text]), answers)
    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    write_graph(folder / "model.onnx", nodes, [("x", TensorProto.STRING, ("N",))], [("y", TensorProto.STRING, ("N",))])
    return folder


def test_one_run_is_bounded_where_instances_differ_in_shape(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = load(sums(tmp_path / "model"), ENTRY, batch_size=1)
    runs = counted_runs(worker)
    monkeypatch.setattr("handlers.model_handler.FORWARD_BYTES", 64)  # two instances of eight numbers
    answer = worker.one(parsed({"instances": [{"x": [1] * 8}, {"x": [2] * 8}, {"x": [3]}]}))
    assert [each["outputs"]["sum"] for each in answer.predictions] == [8.0, 16.0, 3.0]
    assert runs == [2, 1]


def test_an_output_that_is_not_finite_fails_its_request_alone(load: Load, tmp_path: Path) -> None:
    worker = load(sums(tmp_path / "model"), ENTRY)
    good, bad = worker.answer(parsed({"x": [1]}), parsed({"x": [3e38, 3e38]}))
    assert good.predictions[0]["outputs"]["sum"] == 1.0
    assert bad.error == (500, "internal")
