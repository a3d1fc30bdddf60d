"""The Frontend without Ray: keys, paths and queues, in front of workers that a test provides."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from engines.python.frontend import Frontend, FrontendLimits
from engines.python.frontend_metrics import Counts
from engines.python.messages import InferenceResponse
from engines.python.registry import ModelRegistry, RegisteredVersion, Registration
from engines.python.tokens import TokenSigner
from engines.python.version_queue import Batching, PendingRequest, VersionQueue

pytestmark = pytest.mark.anyio
SECRET = b"secret"
KEY = f"Bearer {TokenSigner(SECRET).issue('inference')}"


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the logging and the memory of the test process alone."""
    monkeypatch.setattr("engines.python.frontend.log_replica", lambda: None)
    monkeypatch.setattr("engines.python.frontend.keep_memory", lambda: None)


class EchoFrontend(Frontend):
    """Answers each request with the name of its version and its body, once it may."""

    def __init__(self, limits: FrontendLimits) -> None:
        super().__init__(limits)
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    def _open_queue(self, version: RegisteredVersion, queue_size: int) -> VersionQueue:
        async def echo(pending: PendingRequest) -> InferenceResponse:
            await self.may_answer.wait()
            return InferenceResponse(
                200, (), f"{version.registration.version} {pending.request.body.decode()}".encode()
            )

        def batching(concurrent_batches: int) -> Batching:
            return echo

        return VersionQueue(version, Counts(), batching, queue_size)


def entry(version: str, workers: int = 1) -> RegisteredVersion:
    return RegisteredVersion(Registration("m", version, "u", "0" * 64, 1, 0, 60), workers, workers)


async def frontend(*entries: RegisteredVersion, queue: int = 10) -> EchoFrontend:
    made = EchoFrontend(FrontendLimits(body=100, queue=queue, drain_s=5))
    await follow(made, *entries)
    return made


async def follow(made: Frontend, *entries: RegisteredVersion) -> None:
    registry = ModelRegistry()
    for each in entries:
        registry = registry.put(each)
    await made.reconfigure({"secret": SECRET.hex(), "table": registry.as_json()})


async def ask(made: Frontend, path: str, body: bytes = b"x", key: str = KEY, method: str = "POST") -> tuple[int, bytes]:
    sent: list[Mapping[str, Any]] = []
    asked = False

    async def receive() -> Mapping[str, Any]:
        nonlocal asked
        if asked:
            await asyncio.Event().wait()
        asked = True
        return {"type": "http.request", "body": body}

    async def send(message: Mapping[str, Any]) -> None:
        sent.append(message)

    headers = [(b"authorization", key.encode()), (b"content-length", str(len(body)).encode())]
    await made.answer({"path": path, "method": method, "headers": headers, "query_string": b""}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def test_frontend_answers_the_default_and_a_named_version() -> None:
    made = await frontend(entry("1.0"), entry("1.1"))
    assert await ask(made, "/predictions/m") == (200, b"1.0 x")
    assert await ask(made, "/predictions/m/1.1", method="PUT") == (200, b"1.1 x")
    assert (await ask(made, "/ping", key=""))[0] == 200


@pytest.mark.parametrize(
    ("path", "method", "key", "body", "status", "kind"),
    [
        ("/predictions/m", "POST", "Bearer nobodys", b"x", 400, "InvalidKeyException"),
        ("/predictions/other", "POST", KEY, b"x", 404, "ModelNotFoundException"),
        ("/predictions/m/9.9", "POST", KEY, b"x", 404, "ModelVersionNotFoundException"),
        ("/models", "POST", KEY, b"x", 404, "ResourceNotFoundException"),
        ("/predictions/m", "DELETE", KEY, b"x", 405, "MethodNotAllowedException"),
        ("/predictions/m", "POST", KEY, b"x" * 101, 413, "RequestEntityTooLargeException"),
        ("/predictions/m/0.9", "POST", KEY, b"x", 503, "ServiceUnavailableException"),
    ],
    ids=lambda value: value if isinstance(value, str) and value.endswith("Exception") else "",
)
async def test_frontend_refuses_as_torchserve_does(
    path: str, method: str, key: str, body: bytes, status: int, kind: str
) -> None:
    made = await frontend(entry("1.0"), entry("0.9", workers=0))
    found, content = await ask(made, path, body, key, method)
    assert (found, json.loads(content)["type"], json.loads(content)["code"]) == (status, kind, status)


async def test_frontend_with_a_full_queue_refuses_the_next_request() -> None:
    made = await frontend(entry("1.0"), queue=1)
    made.may_answer.clear()
    held = asyncio.create_task(ask(made, "/predictions/m"))
    await asyncio.sleep(0)
    assert (await ask(made, "/predictions/m"))[0] == 503
    made.may_answer.set()
    assert await held == (200, b"1.0 x")


async def test_frontend_drains_a_removed_version_before_the_change_returns() -> None:
    made = await frontend(entry("1.0"), entry("1.1"))
    made.may_answer.clear()
    held = asyncio.create_task(ask(made, "/predictions/m/1.1"))
    await asyncio.sleep(0)
    changing = asyncio.create_task(follow(made, entry("1.0")))
    await asyncio.sleep(0)
    assert not changing.done()
    assert (await ask(made, "/predictions/m/1.1"))[0] == 404
    made.may_answer.set()
    assert await held == (200, b"1.1 x")
    await changing


async def test_frontend_keeps_the_queue_of_a_version_whose_workers_change() -> None:
    made = await frontend(entry("1.0"))
    await ask(made, "/predictions/m")
    before = made._queues["m", "1.0"]
    await follow(made, entry("1.0", workers=3))
    assert made._queues["m", "1.0"] is before
    assert before.workers == 3
