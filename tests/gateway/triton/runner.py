"""Runs one stock client in its own environment: reads pickled calls from stdin, writes pickled results to stdout.

Imports nothing of the project.
"""

import asyncio
import inspect
import os
import pickle
import queue
import sys
from types import ModuleType
from typing import Any, BinaryIO

import ml_dtypes
import tritonclient.grpc
import tritonclient.grpc.aio
import tritonclient.http
import tritonclient.http.aio
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

KINDS: dict[str, tuple[ModuleType, ModuleType]] = {
    "http": (tritonclient.http, tritonclient.http),
    "http_aio": (tritonclient.http.aio, tritonclient.http),
    "grpc": (tritonclient.grpc, tritonclient.grpc),
    "grpc_aio": (tritonclient.grpc.aio, tritonclient.grpc),
}


class Runner:
    """One client of one kind; its coroutines are run to their end."""

    def __init__(self, kind: str, address: str) -> None:
        module, self._types = KINDS[kind]
        self._is_aio, self._over_grpc = kind.endswith("aio"), kind.startswith("grpc")
        self._loop = asyncio.Runner()
        self._stream: queue.Queue[tuple[Any, Any]] = queue.Queue()
        self._client = self._made(module, address)

    def call(self, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Return what a method of the client returns, in plain types."""
        own = getattr(self, f"on_{name}", None)
        arguments, options = self._built(arguments), self._built(options)
        if own is not None:
            return own(*arguments, **options)
        method = getattr(self._client, name)
        if self._is_aio and inspect.iscoroutinefunction(inspect.unwrap(method)):
            return self._plain(self._loop.run(awaited(method, arguments, options)))
        return self._plain(method(*arguments, **options))

    def on_start_stream(self) -> None:
        self._client.start_stream(lambda result, error: self._stream.put((result, error)))

    def on_stream_results(self, count: int) -> list[tuple[Any, str | None]]:
        """Wait for the next results of the open stream."""
        return [self._pair(*self._stream.get(timeout=60)) for _ in range(count)]

    def on_stream_infer(self, requests: list[dict[str, Any]]) -> list[tuple[Any, str | None]]:
        async def asked() -> Any:
            for request in requests:
                yield request

        async def answered() -> list[Any]:
            return [self._pair(*each) async for each in self._client.stream_infer(asked())]

        return self._loop.run(answered())

    def _pair(self, result: Any, error: Any) -> tuple[Any, str | None]:
        return (None if result is None else self._plain(result)), (None if error is None else str(error))

    def _plain(self, value: Any) -> Any:
        if isinstance(value, Message):
            return MessageToDict(value, preserving_proto_field_name=True)
        if not hasattr(value, "as_numpy"):
            return value
        response = value.get_response(as_json=True) if self._over_grpc else value.get_response()
        sent = [
            each for each in response.get("outputs", ()) if "shared_memory_region" not in each.get("parameters", {})
        ]
        return response, {each["name"]: value.as_numpy(each["name"]) for each in sent}

    def _built(self, value: Any) -> Any:
        """Make the client's own inputs and outputs of those that the test described."""
        if isinstance(value, dict) and "input" in value:
            values = value["values"]
            made = self._types.InferInput(value["input"], list(values.shape), value["datatype"])
            if value["datatype"] == "BF16":
                values = values.astype(ml_dtypes.bfloat16)  # pickled as FP32, which every environment has
            if value["place"] is None:
                made.set_data_from_numpy(values, **value["options"])
            else:
                made.set_shared_memory(*value["place"])
            return made
        if isinstance(value, dict) and "output" in value:
            output = self._types.InferRequestedOutput(value["output"], **value["options"])
            if value["place"] is not None:
                output.set_shared_memory(*value["place"])
            return output
        if isinstance(value, dict):
            return {name: self._built(each) for name, each in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(self._built(each) for each in value)
        return value

    def _made(self, module: ModuleType, address: str) -> Any:
        async def made() -> Any:
            return module.InferenceServerClient(address)

        return self._loop.run(made()) if self._is_aio else module.InferenceServerClient(address)


async def awaited(method: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    return await method(*arguments, **options)


def schemas() -> list[bytes]:
    """Return the client's own message definitions, serialized."""
    return [model_config_pb2.DESCRIPTOR.serialized_pb, service_pb2.DESCRIPTOR.serialized_pb]


def answer(calls: BinaryIO, results: BinaryIO, runner: Runner) -> None:
    while True:
        try:
            name, arguments, options = pickle.load(calls)
        except EOFError:
            return
        try:
            found = ("returned", runner.call(name, arguments, options))
        except InferenceServerException as error:
            found = ("refused", (str(error), str(error.status())))
        except Exception as error:  # noqa: BLE001 -- the test's process raises it
            found = ("broke", (repr(error), ""))
        pickle.dump(found, results)
        results.flush()


def main() -> None:
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what the client prints must not stand among the results
    if sys.argv[1] == "schemas":
        pickle.dump(schemas(), results)
    else:
        answer(sys.stdin.buffer, results, Runner(*sys.argv[1:]))


if __name__ == "__main__":
    main()
