"""A client of Marina's gateway in one file, for Python 3.11 and httpx; copy it into your project.

    from marina_client import Client

    with Client("http://127.0.0.1:5003") as client:
        client.wait_until_ready(60)
        print(client.predict("digits", open("digit.png", "rb").read()).predictions)
        print(client.infer("cartpole", {"observation": [[0.0, 0.0, 0.1, 0.5]]})["action"])

`AsyncClient` has the same methods as coroutines. Both send each request to one of several addresses, and send it again
after a lost connection, 429 and 503: with back-off, not before Retry-After, and only within the deadline.

`python marina_client.py ADDRESS` prints types of the requests of every model that is served there.
"""

import asyncio
import itertools
import json
import keyword
import random
import re
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx

Json = Any
Tensors = Mapping[str, Any]
"""Input tensors by name: a number, text, bytes, or nested sequences of them, such as a numpy array's `tolist()`."""

_BACKOFF_S, _LONGEST_BACKOFF_S = 0.1, 5.0
_JSON = "application/json"
_T = TypeVar("_T")


class MarinaError(Exception):
    """An error of the gateway or of the way to it.

    Attributes:
        detail: what is wrong.
        status: the HTTP status; None without a response.
        code: the gateway's code, such as `over_capacity`; empty where there is none.
        request_id: the id in the gateway's log.

    """

    def __init__(self, detail: str, *, status: int | None = None, code: str = "", request_id: str = "") -> None:
        super().__init__(f"{detail} (request {request_id})" if request_id else detail)
        self.detail, self.status, self.code, self.request_id = detail, status, code, request_id


class BadRequest(MarinaError):
    """400, 413, 415, 422: the request cannot be read, is too large, of the wrong type, or out of range."""


class Denied(MarinaError):
    """401, 403: the API key is missing or unknown, or the configuration does not allow this."""


class NotFound(MarinaError):
    """404: no such model, version or route."""


class Overloaded(MarinaError):
    """429: still over capacity when the time for further attempts was over."""


class Unavailable(MarinaError):
    """503, or no connection: nothing answers for this model, also after further attempts."""


class DeadlinePassed(MarinaError):
    """504, or the client's own deadline: no answer in time."""


class ServerError(MarinaError):
    """Any other status of an error: the gateway or the model failed."""


_ERRORS: Mapping[int, type[MarinaError]] = {
    **dict.fromkeys((400, 413, 415, 422), BadRequest),
    **dict.fromkeys((401, 403), Denied),
    404: NotFound,
    429: Overloaded,
    503: Unavailable,
    504: DeadlinePassed,
}


@dataclass(frozen=True, slots=True)
class Prediction:
    """The response to a prediction: one entry of `predictions` for each picture or state, in their order."""

    model: str
    version: str
    predictions: list[Any]
    request_id: str


@dataclass(frozen=True, slots=True)
class Tensor:
    """An output tensor, its elements flat and in row-major order."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: list[Any] = field(repr=False)

    def rows(self) -> list[Any]:
        """Return the elements as nested lists of the tensor's shape."""
        found = list(self.data)
        for size in reversed(self.shape[1:]):
            found = [found[at : at + size] for at in range(0, len(found), size)] if size else []
        return found


@dataclass(frozen=True, slots=True)
class Inference:
    """The response of the Open Inference Protocol; `inference["name"]` is the tensor of that name, as nested lists."""

    model: str
    version: str
    outputs: Mapping[str, Tensor]
    request_id: str

    def __getitem__(self, name: str) -> list[Any]:
        return self.outputs[name].rows()


@dataclass(slots=True)
class _Address:
    """One gateway; after a lost connection, every call asks the others first until `down_until`."""

    url: str
    down_until: float = 0.0


@dataclass(frozen=True, slots=True)
class _Send:
    """A step of a call: send this, and come back with the response or the error of the connection."""

    method: str
    url: str
    headers: Mapping[str, str]
    content: bytes | Path | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class _Wait:
    """A step of a call: wait for this many seconds."""

    seconds: float


_Outcome = httpx.Response | httpx.HTTPError | None
_Steps = Generator[_Send | _Wait, _Outcome, _T]
"""A call as steps, which the clients run with or without an event loop."""


class _Calls:
    """The steps of both clients; this class neither sends nor waits."""

    def __init__(self, addresses: Sequence[str], api_key: str | None, deadline_s: float) -> None:
        if not addresses:
            raise ValueError("name at least one address, such as http://127.0.0.1:5003")
        self._addresses = [_Address(each.rstrip("/")) for each in addresses]
        self._turn = itertools.count()
        self._headers = {} if api_key is None else {"X-Api-Key": api_key}
        self._deadline_s = deadline_s
        self._datatypes: dict[str, dict[str, str]] = {}

    def predict(
        self, model: str, instance: Json | bytes, version: str | None, deadline_s: float | None, request_id: str | None
    ) -> _Steps[Prediction]:
        """Return one prediction, or the predictions of `{"instances": [...]}`; bytes are an encoded picture."""
        headers = {"Content-Type": "application/octet-stream" if isinstance(instance, bytes) else _JSON}
        body = instance if isinstance(instance, bytes) else json.dumps(instance).encode()
        path = f"/models/{model}{_version(version)}/predict"
        response = yield from self._request("POST", path, body, headers, deadline_s, request_id)
        content = _object(response)
        return Prediction(content["model"], content["version"], content["predictions"], _id(response))

    def infer(
        self,
        model: str,
        tensors: Tensors,
        version: str | None,
        outputs: Sequence[str],
        deadline_s: float | None,
        request_id: str | None,
    ) -> _Steps[Inference]:
        """Return the outputs of a model for these tensors, whose datatypes are those of its metadata."""
        request_id = request_id or uuid.uuid4().hex
        ask = partial(self._request, deadline_s=deadline_s, request_id=request_id, started=time.monotonic())
        path = f"/v2/models/{model}{_version(version)}"
        known = self._datatypes.get(path)
        if known and tensors.keys() <= known.keys():
            try:
                return _inference((yield from ask("POST", f"{path}/infer", *_encoded(tensors, known, outputs))))
            except BadRequest as error:
                if error.status != 400:
                    raise
                # A rollout may have changed the inputs.
                datatypes = yield from self._described(path, ask)
                if datatypes == known:
                    raise
        else:
            datatypes = yield from self._described(path, ask)
        if not datatypes:
            raise BadRequest(f"model '{model}' does not describe its tensors; use predict")
        if unknown := set(tensors) - set(datatypes):
            raise BadRequest(f"model '{model}' reads {', '.join(datatypes)}, not {', '.join(sorted(unknown))}")
        return _inference((yield from ask("POST", f"{path}/infer", *_encoded(tensors, datatypes, outputs))))

    def models(self) -> _Steps[list[dict[str, Any]]]:
        """Return the served models, as `GET /models` describes them."""
        found: list[dict[str, Any]] = _object((yield from self._request("GET", "/models")))["models"]
        return found

    def metadata(self, model: str, version: str | None = None) -> _Steps[dict[str, Any]]:
        """Return the versions and tensors of a model."""
        return _object((yield from self._request("GET", f"/v2/models/{model}{_version(version)}")))

    def load(self, model: str, config: Mapping[str, Any] | None, deadline_s: float) -> _Steps[None]:
        """Roll out a model's archive, with some of its batch settings in Triton's form."""
        content = {} if config is None else {"parameters": {"config": json.dumps(config)}}
        yield from self._control(model, "load", content, deadline_s)

    def unload(self, model: str, deadline_s: float) -> _Steps[None]:
        """Remove a model after its waiting requests are answered."""
        yield from self._control(model, "unload", {}, deadline_s)

    def upload(self, archive: Path, files: str, key: str | None, deadline_s: float) -> _Steps[str]:
        """Put an archive into the file browser at `files`, and return its URL there; none is replaced."""
        url = f"{files.rstrip('/')}/files/{archive.name}"
        headers = {"Content-Length": str(archive.stat().st_size)}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        outcome = yield _Send("PUT", url, headers, archive, deadline_s)
        if isinstance(outcome, httpx.HTTPError):
            raise Unavailable(f"{url}: {outcome or type(outcome).__name__}") from outcome
        assert outcome is not None
        if outcome.status_code == 409:
            raise BadRequest(f"{archive.name} exists already, and a published archive is never replaced", status=409)
        _check(outcome, "")
        return url

    def wait_until_ready(self, seconds: float) -> _Steps[None]:
        """Wait until an address answers that it is ready; raises Unavailable with its reason after so many seconds."""
        end, reason = time.monotonic() + seconds, "no attempt was made"
        for attempt in itertools.count():
            for address in self._addresses:
                left = end - time.monotonic()
                if left <= 0:
                    raise Unavailable(f"not ready within {seconds:g} s: {reason}")
                outcome = yield _Send("GET", f"{address.url}/readyz", self._headers, None, min(left, 5.0))
                if isinstance(outcome, httpx.Response) and outcome.status_code == 200:
                    return
                reason = f"{address.url}: {_reason(outcome)}"
            yield _Wait(max(0.0, min(self._backoff(attempt), end - time.monotonic())))

    def _described(self, path: str, ask: Callable[[str, str], _Steps[httpx.Response]]) -> _Steps[dict[str, str]]:
        """Return the datatypes of a model's inputs, and keep them unless there are none."""
        self._datatypes.pop(path, None)
        content = _object((yield from ask("GET", path)))
        if not content["inputs"]:
            # A model is described by its workers; wait for one as other requests do.
            yield from ask("GET", f"{path}/ready")
            content = _object((yield from ask("GET", path)))
        found = {each["name"]: each["datatype"] for each in content["inputs"]}
        if found:
            self._datatypes[path] = found
        return found

    def _control(self, model: str, verb: str, content: Mapping[str, Any], deadline_s: float) -> _Steps[None]:
        path = f"/v2/repository/models/{model}/{verb}"
        body, headers = json.dumps(content).encode(), {"Content-Type": _JSON}
        yield from self._request("POST", path, body, headers, deadline_s, repeated=False)

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        deadline_s: float | None = None,
        request_id: str | None = None,
        *,
        repeated: bool = True,
        started: float | None = None,
    ) -> _Steps[httpx.Response]:
        """Return the response; after 429, 503 and a lost connection the next address is asked, then each one again.

        A request that must not be `repeated` is sent again only where no connection was made. The deadline counts from
        `started` on where the request belongs to a longer call.
        """
        request_id = request_id or uuid.uuid4().hex
        deadline_s = self._deadline_s if deadline_s is None else deadline_s
        end = (time.monotonic() if started is None else started) + deadline_s
        late: MarinaError = DeadlinePassed(f"no answer within {deadline_s:g} s", request_id=request_id)
        error, free_at, turn = late, dict.fromkeys(range(len(self._addresses)), 0.0), next(self._turn)
        for attempt in itertools.count():
            number = self._choose(turn + attempt, free_at)
            address = self._addresses[number]
            wait = max(free_at[number], address.down_until) - time.monotonic()
            if wait > 0 and time.monotonic() + wait < end:
                yield _Wait(wait)
            left = end - time.monotonic()
            if left <= 0 or wait > left:
                raise error
            sent = {"X-Request-Id": request_id, "X-Deadline-Ms": str(max(1, int(left * 1000)))}
            outcome = yield _Send(method, address.url + path, self._headers | sent | dict(headers or {}), body, left)
            if isinstance(outcome, httpx.Response) and (outcome.status_code not in (429, 503) or not repeated):
                return _check(outcome, request_id)
            if isinstance(outcome, httpx.TimeoutException) and time.monotonic() >= end:
                raise late from outcome
            error = _error_of(outcome, address.url, request_id)
            if not repeated and not isinstance(outcome, httpx.ConnectError | httpx.ConnectTimeout):
                raise error
            pause = max(self._backoff(attempt // len(self._addresses)), _retry_after(outcome))
            free_at[number] = time.monotonic() + pause
            if isinstance(outcome, httpx.HTTPError):
                address.down_until = free_at[number]
        raise error

    def _choose(self, turn: int, free_at: Mapping[int, float]) -> int:
        """Return the number of the address whose turn it is, of those that may be asked first."""
        now, count = time.monotonic(), len(self._addresses)
        order = [(turn + step) % count for step in range(count)]
        return min(order, key=lambda number: max(free_at[number], self._addresses[number].down_until, now))

    def _backoff(self, attempt: int) -> float:
        """Return the seconds before another attempt: twice as long each time, and spread over clients."""
        return min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0 ** min(attempt, 16)) * random.uniform(0.5, 1)  # noqa: S311


def _version(version: str | None) -> str:
    return "" if version is None else f"/versions/{version}"


def _flattened(values: Any) -> tuple[list[int], list[Any]]:
    """Return the shape of nested sequences and their elements. Raises ValueError where they are ragged."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, list | tuple):
        return [], [values]
    shapes, flat = [], []
    for each in values:
        shape, elements = _flattened(each)
        shapes.append(shape)
        flat += elements
    if any(shape != shapes[0] for shape in shapes):
        raise ValueError("nested sequences at the same level must have the same length")
    return [len(values), *(shapes[0] if shapes else [])], flat


def _encoded(tensors: Tensors, datatypes: Mapping[str, str], outputs: Sequence[str]) -> tuple[bytes, dict[str, str]]:
    """Return body and headers of an inference; a tensor of bytes follows the JSON in its raw form."""
    content: dict[str, Any] = {"inputs": [], "outputs": [{"name": name} for name in outputs]}
    tail = b""
    for name, values in tensors.items():
        shape, flat = _flattened(values)
        tensor: dict[str, Any] = {"name": name, "datatype": datatypes[name], "shape": shape}
        if any(isinstance(each, bytes) for each in flat):
            raw = b"".join(len(each).to_bytes(4, "little") + each for each in flat)
            tensor["parameters"], tail = {"binary_data_size": len(raw)}, tail + raw
        else:
            tensor["data"] = flat
        content["inputs"].append(tensor)
    head = json.dumps(content).encode()
    return head + tail, {"Content-Type": _JSON, **({"Inference-Header-Content-Length": str(len(head))} if tail else {})}


def _inference(response: httpx.Response) -> Inference:
    answer = _object(response)
    found = [Tensor(each["name"], each["datatype"], tuple(each["shape"]), each["data"]) for each in answer["outputs"]]
    return Inference(answer["model_name"], answer["model_version"], {each.name: each for each in found}, _id(response))


def _object(response: httpx.Response) -> dict[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ServerError(f"{response.url} did not answer with a JSON object", request_id=_id(response))
    return found


def _id(response: httpx.Response) -> str:
    return str(response.headers.get("x-request-id", ""))


def _check(response: httpx.Response, request_id: str) -> httpx.Response:
    if response.is_success:
        return response
    raise _error_of(response, str(response.url), request_id)


def _error_of(outcome: _Outcome, url: str, request_id: str) -> MarinaError:
    if not isinstance(outcome, httpx.Response):
        return Unavailable(f"{url}: {_reason(outcome)}", request_id=request_id)
    try:
        content = outcome.json()
    except ValueError:
        content = None
    content = content if isinstance(content, dict) else {}
    # The Open Inference Protocol has its text in `error`, where the other routes have a code.
    detail = content.get("detail") or content.get("error") or f"status {outcome.status_code} from {url}"
    code = content.get("error", "") if "detail" in content else ""
    error = _ERRORS.get(outcome.status_code, ServerError)
    return error(str(detail), status=outcome.status_code, code=str(code), request_id=_id(outcome) or request_id)


def _reason(outcome: _Outcome) -> str:
    if isinstance(outcome, httpx.Response):
        return _error_of(outcome, str(outcome.url), "").detail
    return str(outcome) or type(outcome).__name__


def _retry_after(outcome: _Outcome) -> float:
    text = outcome.headers.get("retry-after", "") if isinstance(outcome, httpx.Response) else ""
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _options(connections: int) -> dict[str, Any]:
    # Proxies of the environment are for the internet.
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    return {"limits": limits, "trust_env": False}


class Client:
    """A client for threads; its methods may be called from several at once.

    `addresses` are gateways in front of the same models. `deadline_s` limits each call, all its attempts included.
    """

    def __init__(
        self, *addresses: str, api_key: str | None = None, deadline_s: float = 10.0, connections: int = 32
    ) -> None:
        self._calls = _Calls(addresses, api_key, deadline_s)
        self._http = httpx.Client(**_options(connections))
        self._connections = connections

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def wait_until_ready(self, seconds: float) -> None:
        """Wait until a gateway and its models are ready. Raises Unavailable with the reason after so many seconds."""
        self._run(self._calls.wait_until_ready(seconds))

    def models(self) -> list[dict[str, Any]]:
        """Return the served models: versions, workers, labels, input schemas."""
        return self._run(self._calls.models())

    def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Return the versions and tensors of a model, as the Open Inference Protocol describes them."""
        return self._run(self._calls.metadata(model, version))

    def predict(
        self,
        model: str,
        instance: Json | bytes,
        *,
        version: str | None = None,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Prediction:
        """Return the prediction for an encoded picture (bytes), a state, or many as `{"instances": [...]}`."""
        return self._run(self._calls.predict(model, instance, version, deadline_s, request_id))

    def stream(
        self, model: str, instances: Iterable[Json | bytes], *, at_once: int = 8
    ) -> Iterator[Prediction | MarinaError]:
        """Yield the prediction or the error of each instance, in order, with so many requests under way."""
        with ThreadPoolExecutor(at_once) as pool:
            waiting: deque[Future[Prediction | MarinaError]] = deque()
            try:
                for instance in instances:
                    waiting.append(pool.submit(self._outcome, model, instance))
                    if len(waiting) == at_once:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for each in waiting:
                    each.cancel()

    def infer(
        self,
        model: str,
        tensors: Tensors,
        *,
        version: str | None = None,
        outputs: Sequence[str] = (),
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Inference:
        """Return the output tensors of a model, all of them or those named, over the Open Inference Protocol."""
        return self._run(self._calls.infer(model, tensors, version, outputs, deadline_s, request_id))

    def load(self, model: str, config: Mapping[str, Any] | None = None, *, deadline_s: float = 600.0) -> None:
        """Roll out a model's archive; `config` are batch settings in Triton's form. Needs repository_control."""
        self._run(self._calls.load(model, config, deadline_s))

    def unload(self, model: str, *, deadline_s: float = 600.0) -> None:
        """Remove a model after its waiting requests are answered. Needs gateway.repository_control."""
        self._run(self._calls.unload(model, deadline_s))

    def upload(self, archive: Path, files: str, key: str | None = None, *, deadline_s: float = 600.0) -> str:
        """Put a .mar into the file browser at this address, with its upload key, and return the archive's URL."""
        return self._run(self._calls.upload(archive, files, key, deadline_s))

    def _outcome(self, model: str, instance: Json | bytes) -> Prediction | MarinaError:
        try:
            return self.predict(model, instance)
        except MarinaError as error:
            return error

    def _run(self, steps: _Steps[_T]) -> _T:
        outcome: _Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                result: _T = done.value
                return result
            if isinstance(step, _Wait):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def _send(self, step: _Send) -> httpx.Response | httpx.HTTPError:
        def send(content: Any) -> httpx.Response:
            return self._http.request(
                step.method, step.url, headers=dict(step.headers), content=content, timeout=step.timeout_s
            )

        try:
            if not isinstance(step.content, Path):
                return send(step.content)
            with step.content.open("rb") as file:
                return send(file)
        except httpx.HTTPError as error:
            return error


class AsyncClient:
    """The same for asyncio, in one event loop."""

    def __init__(
        self, *addresses: str, api_key: str | None = None, deadline_s: float = 10.0, connections: int = 32
    ) -> None:
        self._calls = _Calls(addresses, api_key, deadline_s)
        self._http = httpx.AsyncClient(**_options(connections))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def wait_until_ready(self, seconds: float) -> None:
        """Wait until a gateway and its models are ready. Raises Unavailable with the reason after so many seconds."""
        await self._run(self._calls.wait_until_ready(seconds))

    async def models(self) -> list[dict[str, Any]]:
        """Return the served models: versions, workers, labels, input schemas."""
        return await self._run(self._calls.models())

    async def metadata(self, model: str, version: str | None = None) -> dict[str, Any]:
        """Return the versions and tensors of a model, as the Open Inference Protocol describes them."""
        return await self._run(self._calls.metadata(model, version))

    async def predict(
        self,
        model: str,
        instance: Json | bytes,
        *,
        version: str | None = None,
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Prediction:
        """Return the prediction for an encoded picture (bytes), a state, or many as `{"instances": [...]}`."""
        return await self._run(self._calls.predict(model, instance, version, deadline_s, request_id))

    async def stream(
        self, model: str, instances: Iterable[Json | bytes] | AsyncIterable[Json | bytes], *, at_once: int = 8
    ) -> AsyncIterator[Prediction | MarinaError]:
        """Yield the prediction or the error of each instance, in order, with so many requests under way."""
        waiting: deque[asyncio.Task[Prediction | MarinaError]] = deque()
        try:
            async for instance in _each(instances):
                waiting.append(asyncio.create_task(self._outcome(model, instance)))
                if len(waiting) == at_once:
                    yield await waiting.popleft()
            while waiting:
                yield await waiting.popleft()
        finally:
            for each in waiting:
                each.cancel()

    async def infer(
        self,
        model: str,
        tensors: Tensors,
        *,
        version: str | None = None,
        outputs: Sequence[str] = (),
        deadline_s: float | None = None,
        request_id: str | None = None,
    ) -> Inference:
        """Return the output tensors of a model, all of them or those named, over the Open Inference Protocol."""
        return await self._run(self._calls.infer(model, tensors, version, outputs, deadline_s, request_id))

    async def load(self, model: str, config: Mapping[str, Any] | None = None, *, deadline_s: float = 600.0) -> None:
        """Roll out a model's archive; `config` are batch settings in Triton's form. Needs repository_control."""
        await self._run(self._calls.load(model, config, deadline_s))

    async def unload(self, model: str, *, deadline_s: float = 600.0) -> None:
        """Remove a model after its waiting requests are answered. Needs gateway.repository_control."""
        await self._run(self._calls.unload(model, deadline_s))

    async def upload(self, archive: Path, files: str, key: str | None = None, *, deadline_s: float = 600.0) -> str:
        """Put a .mar into the file browser at this address, with its upload key, and return the archive's URL."""
        return await self._run(self._calls.upload(archive, files, key, deadline_s))

    async def _outcome(self, model: str, instance: Json | bytes) -> Prediction | MarinaError:
        try:
            return await self.predict(model, instance)
        except MarinaError as error:
            return error

    async def _run(self, steps: _Steps[_T]) -> _T:
        outcome: _Outcome = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as done:
                result: _T = done.value
                return result
            if isinstance(step, _Wait):
                await asyncio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    async def _send(self, step: _Send) -> httpx.Response | httpx.HTTPError:
        content = _pieces(step.content) if isinstance(step.content, Path) else step.content
        try:
            return await self._http.request(
                step.method, step.url, headers=dict(step.headers), content=content, timeout=step.timeout_s
            )
        except httpx.HTTPError as error:
            return error


async def _each(instances: Iterable[_T] | AsyncIterable[_T]) -> AsyncIterator[_T]:
    if isinstance(instances, AsyncIterable):
        async for instance in instances:
            yield instance
    else:
        for instance in instances:
            yield instance


async def _pieces(archive: Path) -> AsyncIterator[bytes]:
    with archive.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, 1 << 16):
            yield piece


def types_of(models: Iterable[Mapping[str, Any]]) -> str:
    """Return a Python module with the type of a request, and the labels, of each model of `Client.models`."""
    lines = ['"""Types of the requests that the served models read; made by marina_client.py."""', ""]
    lines += ["from typing import Any, Literal, TypedDict", ""]
    listed = list(models)
    lines += [f"ModelName = Literal[{', '.join(json.dumps(each['name']) for each in listed)}]"] if listed else []
    for model in listed:
        version = next(each for each in model["versions"] if each["version"] == model["default_version"])
        name = _class_name(model["name"])
        schema = (version.get("input") or {}).get("json_schema") or {}
        lines += ["", *_definition(f"{name}Request", schema)]
        if labels := version.get("labels"):
            lines.append(f"{name}Label = Literal[{', '.join(json.dumps(str(each)) for each in labels)}]")
    return "\n".join(lines) + "\n"


def _definition(name: str, schema: Mapping[str, Any]) -> list[str]:
    fields = schema.get("properties")
    if not fields:
        return [f"{name} = {_type(schema)}"]
    shown = [f"        {json.dumps(key)}: {_type(each)},{_bounds(each)}" for key, each in fields.items()]
    return [f"{name} = TypedDict(", f'    "{name}",', "    {", *shown, "    },", ")"]


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys(_type(each) for each in schema["anyOf"]))
    shape = schema.get("x-shape")
    if shape is not None:
        return "list[" * len(shape) + _element(schema) + "]" * len(shape)
    if schema.get("type") == "array":
        return f"list[{_type(schema.get('items') or {})}]"
    simple = {"number": "float", "integer": "int", "boolean": "bool", "string": "str", "object": "dict[str, Any]"}
    return simple.get(str(schema.get("type")), "Any")


def _element(schema: Mapping[str, Any]) -> str:
    """Return the type of a tensor's elements: `x-datatype` is the protocol's name, `x-dtype` of a state NumPy's."""
    name = str(schema.get("x-datatype") or schema.get("x-dtype")).lower()
    types = {"bytes": "str", "bool": "bool", "int": "int", "uint": "int"}
    return types.get(name.rstrip("0123456789"), "float")


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    return "" if low is None and high is None else f"  # {'' if low is None else low} to {'' if high is None else high}"


def _class_name(model: str) -> str:
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^A-Za-z0-9]+", model))
    return f"Model{name}" if not name.isidentifier() or keyword.iskeyword(name) else name


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(f"usage: python {sys.argv[0]} ADDRESS > marina_types.py")
    try:
        with Client(sys.argv[1]) as _client:
            sys.stdout.write(types_of(_client.models()))
    except MarinaError as _error:
        sys.exit(str(_error))
