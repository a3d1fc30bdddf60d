"""Named tensors from the protocol to the worker and back: every datatype, several outputs, models without batches."""

import json
import struct
from dataclasses import replace
from typing import Any, get_args

import pytest
from google.protobuf.json_format import ParseDict

from errors import UnreadableInput
from gateway.http.body import Body
from gateway.http.content import JSON
from gateway.http.payload import any_form, check_limits
from gateway.model_card import input_schema
from gateway.oip import open_inference_pb2 as pb
from gateway.oip.datatypes import DATATYPES
from gateway.oip.infer_messages import RequestedOutput, Tensor, from_raw, to_json, to_raw
from gateway.oip.inference import answered_tensor
from gateway.oip.repository import model_config
from gateway.oip.tensor_metadata import inputs_of
from gateway.served_models import ServedVersion
from handlers import outputs, tensor_requests
from handlers.errors import InvalidFields, TooLarge, WrongMediaType
from handlers.json_object import JsonObject
from handlers.outputs.tensors import KIND
from handlers.signature import NUMPY, read_signature
from handlers.tensor_records import SignatureRuntime
from settings.schema.tensors_model import Datatype

VALUES: dict[str, list[Any]] = {
    "BOOL": [True, False],
    "FP16": [0.0999755859375, -65504.0],
    "BF16": [0.10009765625, -3.0],
    "FP32": [0.10000000149011612, -3.4e38],
    "FP64": [0.1, -1e300],
    "BYTES": [b"\xff\x00", "é".encode()],
}


def card(datatype: str = "INT32", shape: Any = (2,), batched: bool = True, **more: Any) -> dict[str, Any]:
    def port(name: str) -> dict[str, Any]:
        return {"name": name, "datatype": datatype, "shape": list(shape)}

    signature = {"batched": batched, "inputs": [port("a") | more, port("b")], "outputs": [port("x"), port("y")]}
    return {"kind": "tensors", "signature": signature}


def answers(described: dict[str, Any], *sent: Tensor) -> list[dict[str, Any]]:
    """The predictions of a model that answers x = a and y = b, as the worker's JSON."""
    inputs = inputs_of(described)
    assert inputs is not None
    payload = inputs.payload(inputs.check(sent, "pair"))
    signature = read_signature(JsonObject(described["signature"], "signature"))
    records = tensor_requests.read(json.loads(payload.data), signature).inputs
    found = SignatureRuntime(lambda named: {"x": named["a"], "y": named["b"]}, signature)(records)
    decoded: list[dict[str, Any]] = json.loads(json.dumps(KIND.predictions(found, signature)))
    return decoded


def returned(described: dict[str, Any], *sent: Tensor, classes: int = 0) -> list[Tensor]:
    predictions = answers(described, *sent)
    return [
        answered_tensor(each, RequestedOutput(each.name, classes), predictions)
        for each in outputs.output_tensors(described)
    ]


def test_the_datatypes_of_settings_archives_and_protocol_are_the_same() -> None:
    assert set(NUMPY) == set(DATATYPES) == set(get_args(Datatype))


@pytest.mark.parametrize("name", DATATYPES)
def test_raw_elements_come_back_as_they_were_sent(name: str) -> None:
    datatype = DATATYPES[name]
    values = VALUES.get(name) or [int(datatype.low), int(datatype.high)]
    raw = datatype.to_bytes(values)
    described = card(name)
    x, y = returned(described, *(from_raw(each, name, (1, 2), raw) for each in ("a", "b")))
    assert (x.datatype, x.shape, to_raw(x), to_raw(y)) == (name, (1, 2), raw, raw)


def test_text_from_json_comes_back_as_text() -> None:
    x, _ = returned(card("BYTES"), *(Tensor(each, "BYTES", (1, 2), ["a", "é"]) for each in ("a", "b")))
    assert to_json(x) == ["a", "é"]


def test_several_instances_are_answered_in_one_tensor() -> None:
    sent = [Tensor(each, "INT32", (3, 2), list(range(6))) for each in ("b", "a")]
    x, _ = returned(card(), *sent)
    assert (x.shape, x.values) == ((3, 2), list(range(6)))


def test_dynamic_axes_get_their_size_from_the_answer() -> None:
    sent = [Tensor(each, "INT32", (2, 3, 1), list(range(6))) for each in ("a", "b")]
    x, _ = returned(card(shape=(-1, -1)), *sent)
    assert (x.shape, x.values) == ((2, 3, 1), list(range(6)))


@pytest.mark.parametrize("shape", [(), (2, 2)])
def test_a_model_without_batches_has_tensors_of_its_own_shape(shape: tuple[int, ...]) -> None:
    values = list(range(2 ** len(shape)))
    described = card(shape=shape, batched=False)
    inputs = inputs_of(described)
    assert inputs is not None
    assert [each.shape for each in inputs.metadata] == [shape, shape]
    assert inputs.instances([]) == 1
    x, _ = returned(described, *(Tensor(each, "INT32", shape, values) for each in ("a", "b")))
    assert (x.shape, x.values) == (shape, values)


def test_the_best_classes_of_an_output_are_named_by_its_labels() -> None:
    described = card("FP32", (3,))
    described["signature"]["outputs"][0]["labels"] = ["cat", "dog", "cow"]
    sent = [Tensor(each, "FP32", (1, 3), [0.25, 0.5, 0.0]) for each in ("a", "b")]
    x, y = returned(described, *sent, classes=2)
    assert (x.datatype, x.shape, x.values) == ("BYTES", (1, 2), ["0.500000:1:dog", "0.250000:0:cat"])
    assert y.values == ["0.500000:1", "0.250000:0"]
    alone, _ = returned(card("FP32", (3,), batched=False), *(replace(each, shape=(3,)) for each in sent), classes=2)
    assert alone.shape == (2,)


@pytest.mark.parametrize(
    ("sent", "text"),
    [
        (Tensor("a", "INT64", (1, 2), [1, 2]), "input 'a' of model 'pair' has datatype INT32, not INT64"),
        (
            Tensor("a", "INT32", (2,), [1, 2]),
            "input 'a' of model 'pair': expected [-1, 2], got [2]",
        ),
        (Tensor("c", "INT32", (1, 2), [1, 2]), "model 'pair' has no input 'c'; it reads 'a', 'b'"),
        (Tensor("a", "INT32", (2, 2), [1, 2, 3, 4]), "hold different numbers of instances: 'a' 2, 'b' 1"),
    ],
)
def test_tensors_that_do_not_fit_are_refused(sent: Tensor, text: str) -> None:
    inputs = inputs_of(card())
    assert inputs is not None
    with pytest.raises(UnreadableInput) as caught:
        inputs.check([sent, Tensor("b", "INT32", (1, 2), [1, 2])], "pair")
    assert text in caught.value.detail


@pytest.mark.parametrize(
    ("shape", "values", "text"), [((1, 0), [], "holds nothing"), ((1, 1), [float("nan")], "not finite")]
)
def test_what_json_cannot_carry_is_refused(shape: tuple[int, ...], values: list[float], text: str) -> None:
    inputs = inputs_of(card("FP32", (-1,)))
    assert inputs is not None
    sent = [Tensor(each, "FP32", shape, values) for each in ("a", "b")]
    with pytest.raises(UnreadableInput, match=text):
        inputs.payload(inputs.check(sent, "pair"))


def test_the_configuration_of_a_batched_model_states_one_instance_as_tritons_does() -> None:
    def configured(described: dict[str, Any]) -> dict[str, Any]:
        return model_config(ServedVersion("pair", "1.0", True, 1, 1, 1, 1, 8, 1, 0, 100, described), "torchserve")

    found = configured(card("FP32", (3, 4, 4), format="NCHW"))
    assert found["max_batch_size"] == 8
    assert found["input"][0] == {"name": "a", "data_type": "TYPE_FP32", "dims": [3, 4, 4], "format": "FORMAT_NCHW"}
    assert ParseDict(found, pb.ModelConfig()).input[0].format == pb.ModelInput.FORMAT_NCHW
    alone = configured(card(batched=False))
    assert (alone["max_batch_size"], alone["input"][0]["dims"]) == (0, [2])


@pytest.mark.parametrize("signature", [None, [], {"batched": True}])
def test_a_card_without_a_signature_describes_nothing(signature: Any) -> None:
    described = {"kind": "tensors", "signature": signature}
    assert inputs_of(described) is None
    assert outputs.output_tensors(described) == ()
    assert input_schema(described) is None
    check_limits(any_form(body(b'{"instances":[1]}'), "tensors"), described)


def body(content: bytes, media_type: str = JSON) -> Body:
    return Body(media_type, {}, content, media_type)


def test_the_native_route_takes_objects_of_json() -> None:
    sent = b'{"inputs":{"a":[[1,2]]}}'
    payload = any_form(body(sent), "tensors")
    assert (payload.content_type, payload.data) == (JSON, sent)
    with pytest.raises(InvalidFields, match="tensors by name"):
        any_form(body(b"[1]"), "tensors")
    with pytest.raises(WrongMediaType):
        any_form(body(struct.pack("<f", 1), "image/png"), "tensors")


@pytest.mark.parametrize("content", [{"instances": [{}] * 4}, {"inputs": {"a": [[1, 2]], "b": [[1, 2]] * 4}}])
def test_more_instances_than_the_card_allows_are_refused(content: Any) -> None:
    described = card() | {"limits": {"max_instances": 3}}
    payload = any_form(body(json.dumps(content).encode()), "tensors")
    with pytest.raises(TooLarge, match="4 instances, more than the 3"):
        check_limits(payload, described)
    check_limits(payload, described | {"limits": {"max_instances": 4}})


def test_the_schema_of_an_instance_names_columns_with_units_bounds_and_categories() -> None:
    described = card("FP32", (2,))
    columns = [
        {"name": "age", "unit": "years", "low": 0, "high": 120},
        {"name": "job", "categories": ["nurse", "pilot"]},
    ]
    described["signature"]["inputs"] = [described["signature"]["inputs"][0] | {"columns": columns}]
    schema = input_schema(described)
    assert schema is not None
    assert schema["json_schema"]["properties"] == {
        "age": {"type": "number", "minimum": 0, "maximum": 120, "x-unit": "years"},
        "job": {"type": "string", "enum": ["nurse", "pilot"]},
    }
    assert set(schema["example"]) == {"age", "job"}


def test_the_schema_of_tensors_says_datatype_and_shape() -> None:
    schema = input_schema(card("INT64", (-1,), low=0))
    assert schema is not None
    assert schema["json_schema"]["properties"]["a"] == {
        "type": "array",
        "x-datatype": "INT64",
        "x-shape": [-1],
        "x-minimum": 0,
    }
    assert "example" not in (input_schema(card(shape=(100, 100))) or {})
