"""Pieces of the protocol that need no engine: the input tensors of every kind of model, and raw forms."""

import gzip
import re
import threading
import zlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import orjson
import pytest

from errors import Internal, UnreadableInput
from gateway.http.payload import Payload
from gateway.http.responses import whole_response
from gateway.oip.compression import deflated
from gateway.oip.datatypes import Datatype
from gateway.oip.infer_messages import RequestedOutput, Tensor, from_raw, nested, to_json, to_raw
from gateway.oip.inference import answered_tensor
from gateway.oip.tensor_metadata import ModelInputs, TensorMetadata, inputs_of
from handlers.outputs import OutputTensor


def policy(space: dict[str, Any], observation: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"kind": "policy", "action": {"space": space}, "observation": {"space": observation or {"shape": [4]}}}


def test_inputs_of_picture_observation_are_bytes() -> None:
    reads = inputs_of(policy({}, {"shape": [2, 1, 2], "dtype": "uint8"}))
    assert reads is not None
    assert reads.metadata == (TensorMetadata("observation", "UINT8", (-1, 2, 1, 2)),)
    one = reads.payload([Tensor("observation", "UINT8", (1, 2, 1, 2), [1, 2, 3, 4])])
    assert orjson.loads(one.data) == [[[1, 2]], [[3, 4]]]
    two = reads.payload([Tensor("observation", "UINT8", (2, 2, 1, 2), list(range(8)))])
    assert orjson.loads(two.data) == {"instances": [[[[0, 1]], [[2, 3]]], [[[4, 5]], [[6, 7]]]]}


PARTS = {
    "type": "dict",
    "spaces": [
        {"key": "camera", "space": {"type": "box", "shape": [1, 1, 2], "dtype": "uint8"}},
        {"key": "speed", "space": {"type": "box", "shape": [3], "dtype": "float32"}},
    ],
}


def test_inputs_of_goal_conditioned_policy_are_instances() -> None:
    keys = ("achieved_goal", "desired_goal", "observation")
    part = {"type": "box", "shape": [1], "dtype": "float32"}
    reads = inputs_of(policy({}, {"type": "dict", "spaces": [{"key": key, "space": part} for key in keys]}))
    assert reads is not None
    sent = reads.payload([Tensor(key, "FP32", (1, 1), [0.5]) for key in keys])
    # Under "instances" alone, which is a list of observations whatever their parts are called.
    assert orjson.loads(sent.data) == {"instances": [{key: [0.5] for key in keys}]}


def test_inputs_of_dict_observation_are_one_tensor_a_part() -> None:
    reads = inputs_of(policy({}, PARTS))
    assert reads is not None
    assert [(spec.name, spec.datatype, spec.shape) for spec in reads.metadata] == [
        ("camera", "UINT8", (-1, 1, 1, 2)),
        ("speed", "FP32", (-1, 3)),
    ]
    camera, speed = Tensor("camera", "UINT8", (1, 1, 1, 2), [1, 2]), Tensor("speed", "FP32", (1, 3), [0.5, 0, 1])
    sent = reads.payload(reads.check([speed, camera], "m"))
    assert orjson.loads(sent.data) == {"instances": [{"camera": [[[1, 2]]], "speed": [0.5, 0, 1]}]}
    for wrong, words in (
        ([camera], "reads the input 'speed' once; it was sent 0 times"),
        ([camera, speed, speed], "it was sent 2 times"),
        ([camera, speed, replace(speed, name="x")], "no input 'x'; it reads 'camera', 'speed'"),
        (
            [camera, replace(speed, shape=(2, 3), values=[0.0] * 6)],
            "different numbers of instances: 'camera' 1, 'speed' 2",
        ),
    ):
        with pytest.raises(UnreadableInput, match=re.escape(words)):
            reads.check(wrong, "m")


def test_inputs_32_bit_float_stays_exact() -> None:
    reads = inputs_of(policy({}))
    assert reads is not None
    sent = np.array([[0.1, -1e-30, 3.4e38, 1 / 3]], np.float32)
    payload = reads.payload([from_raw("observation", "FP32", (1, 4), sent.tobytes())])
    assert np.array(orjson.loads(payload.data), np.float32).tobytes() == sent.tobytes()


DTYPES = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
}


@pytest.mark.parametrize("datatype", DTYPES)
def test_raw_form_equals_numpys(datatype: str) -> None:
    values: Any = np.array([[0, 1, 1], [1, 0, 100]], DTYPES[datatype])
    tensor = from_raw("x", datatype, (2, 3), values.tobytes())
    assert nested(tensor.values, (2, 3)) == values.tolist()
    assert to_raw(tensor) == values.tobytes()


def test_raw_form_of_bf16_is_rounded_to_the_nearest_and_to_even() -> None:
    halves = np.array([0x3F80, 0xBF80, 0x7F7F, 0x0001, 0x8000, 0x7F80], np.uint16)
    tensor = from_raw("x", "BF16", (6,), halves.tobytes())
    assert to_raw(tensor) == halves.tobytes()
    # 1 + 2^-8 is halfway between 1 and the next number, 1 + 3 * 2^-8 between that one and the one after it.
    rounded = to_raw(Tensor("x", "BF16", (4,), [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, float("nan")]))
    assert np.frombuffer(rounded, np.uint16).tolist() == [0x3F80, 0x3F82, 0x3F81, 0x7FC0]


def test_json_form_of_bytes_that_are_no_text_is_refused() -> None:
    assert to_json(Tensor("x", "BYTES", (2,), ["a", b"b"])) == ["a", "b"]
    with pytest.raises(Internal, match="binary_data"):
        to_json(Tensor("x", "BYTES", (1,), [b"\xff"]))


def test_json_form_of_infinity_is_refused() -> None:
    assert to_json(Tensor("x", "FP32", (1,), [0.5])) == [0.5]
    with pytest.raises(Internal, match="binary_data"):
        to_json(Tensor("x", "FP32", (1,), [float("inf")]))


@pytest.mark.parametrize(
    ("datatype", "value"),
    [
        ("INT64", None),
        ("INT64", 0.5),
        ("INT64", 2**63),
        ("UINT8", -1),
        ("FP32", None),
        ("FP32", 1e39),
        ("FP16", 1e5),
        ("BF16", "1"),
    ],
)
def test_output_that_does_not_fit_its_datatype_is_named(datatype: str, value: Any) -> None:
    tensor = Tensor("score", datatype, (1,), [value])
    for write in (to_raw, to_json):
        with pytest.raises(Internal, match=f"'score' of the model's answer does not fit {datatype}"):
            write(tensor)


def test_best_classes_of_an_output_that_does_not_fit_its_datatype_are_refused() -> None:
    output = OutputTensor("scores", "FP32", (-1, 2), lambda prediction: list(prediction["scores"]))
    with pytest.raises(Internal, match="'scores' of the model's answer does not fit FP32"):
        answered_tensor(output, RequestedOutput("scores", classes=1), [{"scores": [0.5, None]}])


def test_shape_of_numbers_of_another_datatype_is_checked_first() -> None:
    reads = inputs_of(policy({}))
    assert reads is not None
    with pytest.raises(UnreadableInput, match="unexpected shape"):
        reads.check([Tensor("observation", "INT64", (1, 2), [0, 2**53 + 1])], "m")


def test_inexact_number_at_the_end_is_found_in_few_conversions(monkeypatch: pytest.MonkeyPatch) -> None:
    converted = []
    holds_exactly = Datatype.holds_exactly

    def counted(datatype: Datatype, values: Sequence[float]) -> bool:
        converted.append(len(values))
        return holds_exactly(datatype, values)

    monkeypatch.setattr(Datatype, "holds_exactly", counted)
    reads = inputs_of(policy({}))
    assert reads is not None
    values = [*range(4 * 1000 - 2), 2**24 + 1, 2**24 + 3]
    with pytest.raises(UnreadableInput, match="FP32 does not hold 16777217 exactly"):
        reads.check([Tensor("observation", "INT32", (1000, 4), values)], "m")
    assert len(converted) < 20
    assert sum(converted) <= 2 * len(values)


@pytest.mark.anyio
@pytest.mark.parametrize(("size", "in_thread"), [(10_000, False), (100_000, True)])
async def test_large_response_is_compressed_outside_the_event_loop(
    monkeypatch: pytest.MonkeyPatch, size: int, in_thread: bool
) -> None:
    threads = []
    compressobj = zlib.compressobj

    def noted(*args: Any, **options: Any) -> Any:
        threads.append(threading.get_ident())
        return compressobj(*args, **options)

    monkeypatch.setattr(zlib, "compressobj", noted)
    packed = await deflated(whole_response(bytes(size)), "gzip, deflate")
    assert gzip.decompress(packed.body) == bytes(size)
    assert [each != threading.get_ident() for each in threads] == [in_thread]


def test_inputs_of_space_of_64_bit_floats_take_each_of_them() -> None:
    reads = inputs_of(policy({}, {"shape": [2], "dtype": "float64"}))
    assert reads is not None
    sent = reads.payload(reads.check([Tensor("observation", "FP64", (1, 2), [0.1, 1e300])], "m"))
    assert orjson.loads(sent.data) == [0.1, 1e300]
    with pytest.raises(UnreadableInput, match="FP64 does not hold 9007199254740993 exactly"):
        reads.check([Tensor("observation", "INT64", (1, 2), [0, 2**53 + 1])], "m")


def test_inputs_without_batches_are_any_tensors_and_one_instance() -> None:
    def payload(tensors: Sequence[Tensor]) -> Payload:
        return Payload("application/json", orjson.dumps({each.name: each.values for each in tensors}))

    metadata = (TensorMetadata("age", "INT64", ()), TensorMetadata("rows", "BYTES", (-1, 2)))
    reads = ModelInputs(metadata, payload, is_batched=False)
    rows, age = Tensor("rows", "BYTES", (2, 2), ["a", "b", "c", "d"]), Tensor("age", "INT64", (), [7])
    checked = reads.check([rows, age], "m")
    assert (checked, reads.instances(checked)) == ((age, rows), 1)
    assert orjson.loads(reads.payload(checked).data) == {"age": [7], "rows": ["a", "b", "c", "d"]}


@pytest.mark.parametrize("cut", [1, 3, 5, 8])
def test_raw_form_cut_off_is_refused(cut: int) -> None:
    raw = to_raw(Tensor("x", "BYTES", (2,), [b"ab", "é"]))
    assert from_raw("x", "BYTES", (2,), raw).values == [b"ab", "é".encode()]
    with pytest.raises(UnreadableInput):
        from_raw("x", "BYTES", (2,), raw[:cut])
