"""The Python client in one file against the real gateway, and against a server that fails as a test tells it to."""

import ast
import asyncio
import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from gateway.examples import PICTURE
from gateway.model_card import input_schema
from settings.load import ROOT
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for
from tests.ports import free_port

FILE = ROOT / "clients" / "python" / "marina_client.py"


def _loaded() -> ModuleType:
    """The client as its users have it: one file, imported by its path."""
    spec = importlib.util.spec_from_file_location("marina_client", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["marina_client"] = module
    spec.loader.exec_module(module)
    return module


marina: Any = _loaded()


Answer = tuple[int, dict[str, str], Any]


@dataclass
class Scripted:
    """A server that answers with the given (status, headers, content), one after the other; the last one remains."""

    answers: list[Answer]
    asked: list[dict[str, str]] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator["Scripted"]:
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                scripted.asked.append({**dict(self.headers.items()), "path": self.path, "body": body.decode("latin-1")})
                at = min(len(scripted.asked), len(scripted.answers)) - 1
                status, headers, content = scripted.answers[at]
                if status == 0:
                    self.close_connection = True  # without a response
                    return
                data = json.dumps(content).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = handle_one  # noqa: N815 -- the names of the standard library

            def log_message(self, *_: object) -> None:
                """Write nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


GOOD = (200, {"X-Request-Id": "r"}, {"model": "m", "version": "1.0", "predictions": [{"action": 1}]})
BUSY = (429, {"Retry-After": "0"}, {"error": "over_capacity", "detail": "too many", "request_id": "r"})
AWAY = (503, {"Retry-After": "0"}, {"error": "no_worker", "detail": "model 'm' has no worker", "request_id": "r"})
LOST: Answer = (0, {}, None)


@pytest.fixture(scope="module")
def gateway() -> Iterator[str]:
    given = GivenTorchServe()
    with given.running(), gateway_for(given) as url:
        yield url


def both(call: Any, *addresses: str, **options: Any) -> list[Any]:
    """The results of a call of the two clients: `call` gets one of them and returns a value or an awaitable."""

    async def asynchronous() -> Any:
        async with marina.AsyncClient(*addresses, **options) as client:
            found = call(client)
            return [each async for each in found] if hasattr(found, "__aiter__") else await found

    with marina.Client(*addresses, **options) as client:
        found = call(client)
        return [list(found) if hasattr(found, "__next__") else found, asyncio.run(asynchronous())]


def test_predict_answers_pictures_and_states(gateway: str) -> None:
    for found in both(lambda client: client.predict("digits", PICTURE), gateway):
        assert (found.model, found.version, found.predictions[0]["label"]) == ("digits", "1.0", "7")
        assert len(found.request_id) == 32
    for found in both(lambda client: client.predict("cartpole", [0, 0, 0.1, 0.5], request_id="order-66"), gateway):
        assert (found.predictions, found.request_id) == ([{"action": 1}], "order-66")


def test_infer_sends_pictures_raw_and_numbers_by_the_metadata(gateway: str) -> None:
    states = np.zeros((2, 4), np.float32)
    for found in both(lambda client: client.infer("cartpole", {"observation": states}), gateway):
        assert (found["action"], found.outputs["action"].datatype) == ([1, 1], "INT64")
    for found in both(lambda client: client.infer("digits", {"image": [PICTURE]}, outputs=["probabilities"]), gateway):
        assert (found["probabilities"], list(found.outputs)) == ([[0.25, 0.75]], ["probabilities"])
    with marina.Client(gateway) as client:
        with pytest.raises(marina.BadRequest, match="reads observation, not state"):
            client.infer("cartpole", {"state": states})
        with pytest.raises(ValueError, match="the same length"):
            client.infer("cartpole", {"observation": [[1, 2], [3]]})


def described(**datatypes: str) -> Answer:
    """The metadata of a model with these inputs."""
    return (200, {}, {"inputs": [{"name": name, "datatype": datatype} for name, datatype in datatypes.items()]})


INFERRED: Answer = (200, {}, {"model_name": "m", "model_version": "1.0", "outputs": []})
REFUSED: Answer = (400, {}, {"error": "input 'a' of model 'm' has datatype INT32, not FP32"})


def inferred(answers: list[Answer], *tensors: dict[str, Any]) -> list[list[tuple[str, str]]]:
    """Path and first datatype of each request that a client of either kind sends for inferences in turn."""

    async def asynchronous(url: str) -> None:
        async with marina.AsyncClient(url) as client:
            for each in tensors:
                await client.infer("m", each)

    def synchronous(url: str) -> None:
        with marina.Client(url) as client:
            for each in tensors:
                client.infer("m", each)

    found = []
    runs: list[Callable[[str], None]] = [synchronous, lambda url: asyncio.run(asynchronous(url))]
    for run in runs:
        with Scripted(answers).running() as server:
            run(server.url)
        bodies = [json.loads(each["body"] or "{}") for each in server.asked]
        datatypes = [body["inputs"][0]["datatype"] if body else "" for body in bodies]
        paths = [each["path"].removeprefix("/v2/models/m") for each in server.asked]
        found.append(list(zip(paths, datatypes, strict=True)))
    return found


def test_infer_waits_for_the_worker_that_describes_the_model() -> None:
    answers = [described(), AWAY, (200, {}, {"ready": True}), described(a="INT32"), INFERRED]
    for requests in inferred(answers, {"a": [1]}, {"a": [2]}):
        infer = ("/infer", "INT32")
        assert requests == [("", ""), ("/ready", ""), ("/ready", ""), ("", ""), infer, infer]


def test_infer_learns_an_input_of_a_rollout() -> None:
    answers = [described(a="FP32"), INFERRED, described(b="INT32"), INFERRED]
    for requests in inferred(answers, {"a": [1]}, {"b": [1]}):
        assert requests == [("", ""), ("/infer", "FP32"), ("", ""), ("/infer", "INT32")]


def test_infer_learns_a_datatype_of_a_rollout_from_a_refusal() -> None:
    answers = [described(a="FP32"), INFERRED, REFUSED, described(a="INT32"), INFERRED]
    for requests in inferred(answers, {"a": [1]}, {"a": [1]}):
        assert requests == [("", ""), ("/infer", "FP32"), ("/infer", "FP32"), ("", ""), ("/infer", "INT32")]


def test_infer_raises_a_refusal_that_no_rollout_explains() -> None:
    answers = [described(a="FP32"), INFERRED, REFUSED, described(a="FP32")]
    with Scripted(answers).running() as server, marina.Client(server.url) as client:
        client.infer("m", {"a": [1]})
        with pytest.raises(marina.BadRequest, match="has datatype INT32"):
            client.infer("m", {"a": [1]})
    assert len(server.asked) == 4


def test_infer_of_a_model_without_described_tensors_says_so() -> None:
    with (
        Scripted([described()]).running() as server,
        marina.Client(server.url) as client,
        pytest.raises(marina.BadRequest, match="does not describe its tensors; use predict"),
    ):
        client.infer("m", {"a": [1]})


def test_stream_answers_in_order_and_an_error_is_its_instances_alone(gateway: str) -> None:
    instances = [[0, 0, 0.1, 0], "no state", [0, 0, 0, 0]] * 4
    for found in both(lambda client: client.stream("cartpole", instances, at_once=5), gateway):
        kinds = [type(each) for each in found]
        assert kinds == [marina.Prediction, marina.BadRequest, marina.Prediction] * 4


def test_error_has_its_type_status_code_and_request_id(gateway: str) -> None:
    with marina.Client(gateway) as client:
        with pytest.raises(marina.NotFound) as caught:
            client.predict("nobody", b"x", request_id="order-66")
        error = caught.value
        assert (error.status, error.code, error.request_id) == (404, "unknown_model", "order-66")
        with pytest.raises(marina.NotFound, match="no model nobody is registered"):
            client.metadata("nobody")
        with pytest.raises(marina.Denied, match="repository_control=true"):
            client.load("digits", {"max_batch_size": 8})


@pytest.mark.parametrize("trouble", [BUSY, AWAY, LOST], ids=["429", "503", "lost connection"])
def test_request_is_sent_again_under_the_same_id(trouble: Any) -> None:
    with Scripted([trouble, trouble, GOOD]).running() as server:
        found = both(lambda client: client.predict("m", [1]), server.url)
    assert [each.predictions for each in found] == [[{"action": 1}]] * 2
    ids = [each["X-Request-Id"] for each in server.asked]
    assert (len(ids), len(set(ids[:3])), len(set(ids))) == (4, 1, 2)
    left = [int(each["X-Deadline-Ms"]) for each in server.asked[:3]]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[2]


def test_retry_after_beyond_the_deadline_ends_the_attempts_at_once() -> None:
    busy = (429, {"Retry-After": "60"}, BUSY[2])
    with (
        Scripted([busy]).running() as server,
        marina.Client(server.url, deadline_s=20) as client,
        pytest.raises(marina.Overloaded, match="too many"),
    ):
        client.predict("m", [1])
    assert len(server.asked) == 1


def test_attempts_end_at_the_deadline_with_the_last_error() -> None:
    with (
        Scripted([AWAY]).running() as server,
        marina.Client(server.url, deadline_s=2) as client,
        pytest.raises(marina.Unavailable, match="has no worker"),
    ):
        client.predict("m", [1])
    assert len(server.asked) > 1


def test_other_errors_and_changes_of_the_server_are_not_repeated() -> None:
    failed: Answer = (500, {}, {"error": "internal", "detail": "x", "request_id": "r"})
    cases: list[tuple[Any, Any, Callable[[Any], Any]]] = [
        (failed, marina.ServerError, lambda client: client.predict("m", [1])),
        (AWAY, marina.Unavailable, lambda client: client.load("m")),
        (LOST, marina.Unavailable, lambda client: client.unload("m")),
    ]
    for answer, error, call in cases:
        with Scripted([answer]).running() as server, marina.Client(server.url) as client, pytest.raises(error):
            call(client)
        assert len(server.asked) == 1


def test_requests_are_spread_and_pass_a_dead_address(gateway: str) -> None:
    with Scripted([GOOD]).running() as one, Scripted([GOOD]).running() as other:
        dead = f"http://127.0.0.1:{free_port()}"
        with marina.Client(one.url, dead, other.url) as client:
            for _ in range(12):
                client.predict("m", [1])
    assert len(one.asked) + len(other.asked) == 12
    assert min(len(one.asked), len(other.asked)) >= 4


def test_wait_until_ready_waits_and_has_an_end(gateway: str) -> None:
    with Scripted([AWAY, AWAY, (200, {}, {"status": "ready"})]).running() as server:
        both(lambda client: client.wait_until_ready(30), server.url)
    with (
        marina.Client(f"http://127.0.0.1:{free_port()}") as client,
        pytest.raises(marina.Unavailable, match=r"not ready within 1 s: http://127\.0\.0\.1.*refused"),
    ):
        client.wait_until_ready(1)


def test_upload_puts_an_archive_with_its_key(tmp_path: Path) -> None:
    archive = tmp_path / "m.mar"
    archive.write_bytes(b"x" * 200_000)
    with Scripted([(201, {}, {})]).running() as server:
        found = both(lambda client: client.upload(archive, server.url, "secret"), server.url)
    assert found == [f"{server.url}/files/m.mar"] * 2
    for each in server.asked:
        assert (each["path"], each["Authorization"]) == ("/files/m.mar", "Bearer secret")
        assert len(each["body"]) == 200_000
    with (
        Scripted([(409, {}, {})]).running() as server,
        marina.Client(server.url) as client,
        pytest.raises(marina.BadRequest, match="exists already"),
    ):
        client.upload(archive, server.url)


def test_types_are_those_of_the_served_models(gateway: str) -> None:
    with marina.Client(gateway) as client:
        text = marina.types_of(client.models())
    found: dict[str, Any] = {}
    exec(compile(ast.parse(text), "marina_types", "exec"), found)
    fields = ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]
    assert list(found["CartpoleRequest"].__annotations__) == fields
    assert list(found["DigitsRequest"].__annotations__) == ["image"]
    assert found["DigitsLabel"].__args__ == ("1", "7")
    assert found["ModelName"].__args__ == ("cartpole", "digits")
    assert '"cart_position": float,  # -4.8 to 4.8' in text


@pytest.mark.parametrize(
    ("datatype", "element"),
    [("BYTES", "str"), ("BOOL", "bool"), ("INT32", "int"), ("UINT8", "int"), ("BF16", "float"), ("FP64", "float")],
)
@pytest.mark.parametrize(("shape", "form"), [([-1, 2], "list[list[{}]]"), ([], "{}")], ids=["matrix", "scalar"])
def test_types_of_tensors_are_those_of_their_datatype(datatype: str, element: str, shape: list[int], form: str) -> None:
    signature = {
        "batched": True,
        "inputs": [{"name": "a", "datatype": datatype, "shape": shape}],
        "outputs": [{"name": "b", "datatype": "FP32", "shape": [1]}],
    }
    version = {"version": "1.0", "input": input_schema({"kind": "tensors", "signature": signature})}
    text = marina.types_of([{"name": "m", "default_version": "1.0", "versions": [version]}])
    assert f'"a": {form.format(element)},' in text


@pytest.mark.parametrize(("dtype", "element"), [("float32", "float"), ("int64", "int"), ("bool", "bool")])
def test_types_of_states_are_those_of_their_dtype(dtype: str, element: str) -> None:
    space = {"type": "box", "shape": [3], "dtype": dtype}
    version = {"version": "1.0", "input": input_schema({"kind": "policy", "observation": {"space": space}})}
    text = marina.types_of([{"name": "m", "default_version": "1.0", "versions": [version]}])
    assert f"MRequest = list[{element}]" in text


def test_product_does_not_import_the_client_or_httpx() -> None:
    rooms = [path for path in ROOT.glob("[a-z]*/**/*.py") if path.parts[len(ROOT.parts)] not in ("clients", "tests")]
    assert rooms
    assert [str(path) for path in rooms if "import httpx\n" in path.read_text()] == []
