"""Bodies in memory: none is left by a request, however it ends, and all that are there have a bound."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import grpc
import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

import settings
from errors import ConfigError
from gateway.oip import open_inference_pb2 as pb
from tests.gateway.gateway_program import stub
from tests.gateway.given import GivenTorchServe
from tests.gateway.raw import CARTPOLE, DIGITS, HELD_STATE, JSON, PNG, STATE, connected, exchange, request
from tests.gateway.served import gateway_for
from tests.gateway.test_app import program
from tests.gateway.test_faults import metric
from tests.polling import wait_for
from tests.ports import free_port

BIG = b"x" * 300_000  # more than one read of the event loop
FILE = b'--b\r\nContent-Disposition: form-data; name="image"; filename="p"\r\n\r\n' + BIG + b"\r\n--b--\r\n"
FORM = "Content-Type: multipart/form-data; boundary=b"
CHUNKED = "Transfer-Encoding: chunked"
CHUNK = b"493e0\r\n" + BIG + b"\r\n"
INFER = "/v2/models/cartpole/infer"
TENSORS = b'{"inputs": [{"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0.1, 0.5]}]}'
LATE = "X-Deadline-Ms: 50"

CUT_OFF: dict[str, list[bytes]] = {
    "nothing": [],
    "head": [request(CARTPOLE)[:40]],
    "state": [request(CARTPOLE, JSON, body=STATE)[:-1]],
    "body": [request(DIGITS, PNG, body=BIG)[:-1]],
    "body in packets": [request(DIGITS, PNG, f"Content-Length: {len(BIG)}"), BIG[:100_000], BIG[100_000:-1]],
    "chunks": [request(DIGITS, PNG, CHUNKED), CHUNK, b"10\r\nabc"],
    "form": [request(DIGITS, FORM, body=FILE)[:-5]],
    "tensors": [request(INFER, JSON, body=TENSORS)[:-1]],
    "body after leave": [request(DIGITS, PNG, "Expect: 100-continue", body=BIG)[:-1]],
    "leave": [request(DIGITS, PNG, "Expect: 100-continue", "Content-Length: 9")],
    "body behind a request": [request(CARTPOLE, JSON, body=STATE) + request(DIGITS, PNG, body=BIG)[:-1]],
    "work": [request(DIGITS, PNG, body=b"hold" + BIG)],
    "work on a state": [request(CARTPOLE, JSON, body=HELD_STATE)],
    "work on tensors": [request(INFER, JSON, body=TENSORS.replace(b"0.1", b"0.2"))],
    "work behind an upgrade": [request(DIGITS, PNG, "Connection: upgrade", "Upgrade: h2c", body=b"hold" + BIG)],
}
ANSWERED: dict[str, list[bytes]] = {
    "state": [request(CARTPOLE, JSON, body=STATE)],
    "state, ordinary": [request(CARTPOLE, JSON, "X-Deadline-Ms: 9000", body=STATE)],
    "body": [request(DIGITS, PNG, body=BIG)],
    "chunks": [request(DIGITS, PNG, CHUNKED), CHUNK, b"0\r\n\r\n"],
    "form": [request(DIGITS, FORM, body=FILE)],
    "tensors": [request(INFER, JSON, body=TENSORS)],
    "upgrade": [request(DIGITS, PNG, "Connection: upgrade", "Upgrade: h2c", body=BIG)],
    "refused by the engine": [request(DIGITS, PNG, body=b"refuse" + BIG)],
    "state refused by the engine": [request(CARTPOLE, JSON, body=b"[0,0,0.3,0.5]")],
    "too large": [request(DIGITS, PNG, "Connection: close", f"Content-Length: {1 << 30}"), BIG],
    "wrong type": [request(CARTPOLE, PNG, body=BIG)],
    "unknown model": [request("/models/nobody/predict", PNG, body=BIG)],
    "another method": [request(CARTPOLE, method="GET")],
    "another site": [request(DIGITS, PNG, body=BIG, host="evil.example")],
    "no HTTP": [b"hello\r\n\r\n"],
    "broken chunk": [request(DIGITS, PNG, CHUNKED), CHUNK + b"zz\r\n"],
    "long head": [request(DIGITS, "X-A: " + "a" * 20_000)],
    "late": [request(DIGITS, PNG, LATE, body=b"hold" + BIG)],
    "late body": [request(DIGITS, PNG, LATE, body=BIG)[:-1]],
    "models": [request("/models", method="GET")],
    "metrics": [request("/metrics", method="GET")],
    "a file": [request("/docs/swagger-ui.css", method="GET")],
}
OURS = ("gateway.", "uvicorn.")


@pytest.fixture(scope="module", autouse=True)
def _frozen() -> Iterator[None]:
    """Let the collector look only at what these tests make: all that torch and others left takes it half a second."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@contextmanager
def only_the_collector() -> Iterator[list[str]]:
    """Turns it off; afterwards the list has what of the gateway only it would have found."""
    found: list[str] = []
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found += [described for each in gc.garbage if (described := _of_gateway(each))]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def _of_gateway(each: object) -> str:
    if isinstance(each, FrameType):
        return f"frame of {each.f_code.co_qualname}" if "/gateway/" in each.f_code.co_filename else ""
    kind = type(each)
    return f"{kind.__module__}.{kind.__qualname__}" if kind.__module__.startswith(OURS) else ""


def idle(front: str) -> bool:
    """Whether this look is the only request."""
    return metric(front, "marina_gateway_requests_in_flight") == 1


@pytest.fixture(scope="module")
def calm(given: GivenTorchServe) -> Iterator[str]:
    """A gateway that never refuses a model because its engine did."""
    with gateway_for(given, "gateway.breaker.failures=1000000") as url:
        yield url


@pytest.mark.parametrize("sent", CUT_OFF.values(), ids=CUT_OFF.keys())
def test_a_request_that_is_cut_off_leaves_nothing(calm: str, given: GivenTorchServe, sent: list[bytes]) -> None:
    given.hold()
    with only_the_collector() as left:
        for _ in range(3):
            with connected(calm) as connection:
                asked = given.asked
                connection.send(*sent)
                if any(b"hold" in each or b"0.2," in each for each in sent):
                    wait_for(lambda asked=asked: given.asked > asked)  # type: ignore[misc]  # the loop's own value
        wait_for(lambda: idle(calm))
    assert left == []


def test_a_body_cut_off_behind_a_request_under_way_leaves_nothing(calm: str, given: GivenTorchServe) -> None:
    given.hold()
    with only_the_collector() as left:
        asked = given.asked
        with connected(calm) as connection:
            connection.send(request(DIGITS, PNG, body=b"hold") + request(DIGITS, PNG, body=BIG)[:-1])
            wait_for(lambda: given.asked > asked)
        given.release()
        wait_for(lambda: idle(calm))
    assert left == []


@pytest.mark.parametrize("sent", ANSWERED.values(), ids=ANSWERED.keys())
def test_a_request_that_is_answered_leaves_nothing(calm: str, given: GivenTorchServe, sent: list[bytes]) -> None:
    given.hold()
    with only_the_collector() as left:
        for _ in range(3):
            exchange(calm, *sent)
        wait_for(lambda: idle(calm))
    assert left == []


def test_a_connection_that_waits_for_its_next_request_holds_no_body(calm: str) -> None:
    with connected(calm) as connection:
        connection.send(request(DIGITS, PNG, body=BIG[:90_000]), request(DIGITS, PNG, body=BIG[:90_000]))
        assert [connection.read().status for _ in range(2)] == [200, 200]
        wait_for(lambda: idle(calm))
        # By type: isinstance asks each object for its class, and some of torch's warn when they are asked anything.
        cycles = [each for each in gc.get_objects() if type(each) is RequestResponseCycle]
        assert cycles
        assert [len(cycle.body) for cycle in cycles if cycle.body] == []


MIB = 1 << 20
LIMITS = ("gateway.max_receiving_mb=2", f"gateway.max_body_bytes={MIB}")


@pytest.fixture(scope="module")
def narrow(given: GivenTorchServe) -> Iterator[str]:
    """A gateway that holds two bodies of a MiB and no more."""
    with gateway_for(given, *LIMITS) as url:
        yield url


def announced(*lines: str, body: bytes = b"") -> bytes:
    return request(DIGITS, PNG, *lines, f"Content-Length: {MIB}") + body


FORMS = {
    "announced": announced(LATE),
    "chunks": request(DIGITS, PNG, LATE, CHUNKED) + b"100000\r\n" + bytes(MIB) + b"\r\n0\r\n\r\n",
    "form": request(DIGITS, FORM, LATE, "Expect: 100-continue", f"Content-Length: {MIB}"),
    "tensors": request(INFER, JSON, LATE, f"Content-Length: {MIB}"),
}


@pytest.mark.parametrize("sent", FORMS.values(), ids=FORMS.keys())
def test_a_body_beyond_the_bound_is_refused_before_it_is_read_and_accepted_when_there_is_room(
    narrow: str, sent: bytes
) -> None:
    with connected(narrow) as one, connected(narrow) as other:
        for connection in (one, other):
            connection.send(announced(body=bytes(MIB - 1)))
        wait_for(lambda: exchange(narrow, request(DIGITS, PNG, LATE, "Content-Length: 3")).status == 429)
        answer = exchange(narrow, sent)
        assert (answer.status, answer.headers["retry-after"], answer.headers["connection"]) == (429, "1", "close")
        one.send(b"1")
        assert one.read().status == 200
    wait_for(lambda: exchange(narrow, announced(body=bytes(MIB))).status == 200)


def test_bodies_that_are_cut_off_or_refused_take_no_room_for_ever(narrow: str) -> None:
    for _ in range(5):
        for sent in (*CUT_OFF.values(), *ANSWERED.values()):
            with connected(narrow) as connection:
                connection.send(*sent)
    wait_for(lambda: idle(narrow))
    with connected(narrow) as one, connected(narrow) as other:
        for connection in (one, other):
            connection.send(announced(body=bytes(MIB - 1)))
        for connection in (one, other):
            connection.send(b"1")
            assert connection.read().status == 200


def test_the_bound_holds_a_body_for_each_process_or_is_refused() -> None:
    settings.load(["gateway.max_receiving_mb=32", "gateway.processes=2"])
    for wrong in (["gateway.max_receiving_mb=15"], ["gateway.max_receiving_mb=31", "gateway.processes=2"]):
        with pytest.raises(ConfigError, match="max_receiving_mb"):
            settings.load(wrong)


def infer_picture(size: int) -> Any:
    raw = size.to_bytes(4, "little") + b"hold".ljust(size, b"x")
    tensor = pb.ModelInferRequest.InferInputTensor(name="image", datatype="BYTES", shape=[1])
    return pb.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[raw])


def test_messages_of_grpc_count_as_bodies(given: GivenTorchServe, tmp_path: Path) -> None:
    given.hold()
    port = free_port()
    with (
        program(given, tmp_path / "log", *LIMITS, f"gateway.grpc_port={port}") as (url, _),
        grpc.insecure_channel(f"127.0.0.1:{port}") as channel,
    ):
        calls = stub(channel)
        half = MIB - 100_000
        asked = given.asked
        held = [calls.ModelInfer.future(infer_picture(half + number), timeout=60) for number in range(2)]
        wait_for(lambda: given.asked == asked + 2)
        with pytest.raises(grpc.RpcError, match="as many request bodies as it may") as refused:
            calls.ModelInfer(infer_picture(half), timeout=30)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        (streamed,) = calls.ModelStreamInfer(iter([infer_picture(half)]), timeout=30)
        assert "as many request bodies as it may" in streamed.error_message
        assert exchange(url, announced(LATE)).status == 429
        given.release()
        for each in held:
            assert each.result().model_name == "digits"
        wait_for(lambda: calls.ModelInfer(infer_picture(half), timeout=30).model_name == "digits")
