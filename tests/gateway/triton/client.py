"""The four stock clients of tritonclient behind one interface; each runs in a process of its own environment."""

import pickle
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from google.protobuf.descriptor_pb2 import FileDescriptorProto

from tests.gateway.client_environment import client_python

KINDS = ("http", "http_aio", "grpc", "grpc_aio")
RUNNER = Path(__file__).parent / "runner.py"
REQUIREMENTS = Path(__file__).parent / "requirements.txt"


class InferenceServerException(Exception):
    """The stock client's error, as the text and status that it shows."""

    def __init__(self, words: str, status: str) -> None:
        super().__init__(words)
        self._status = status

    def status(self) -> str:
        return self._status


@dataclass(frozen=True)
class InferResult:
    """An answered inference; the response as a dict whichever protocol it came over."""

    response: dict[str, Any]
    arrays: "dict[str, np.ndarray[Any, Any]]" = field(repr=False)

    def as_numpy(self, name: str) -> Any:
        return self.arrays.get(name)


class Client:
    """One stock client; its coroutines are run to their end, its answers are dicts whichever wire they came over."""

    def __init__(self, kind: str, http: str, grpc: str) -> None:
        self.kind = kind
        self.over_grpc = kind.startswith("grpc")
        command: list[str | Path] = [client_python(REQUIREMENTS), RUNNER, kind, grpc if self.over_grpc else http]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.call("close")
        finally:
            self._process.communicate(timeout=30)

    def call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """What a method of the client returns; gRPC's messages as dicts."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump((name, arguments, options), self._process.stdin)
        self._process.stdin.flush()
        kind, found = pickle.load(self._process.stdout)
        if kind == "refused":
            raise InferenceServerException(*found)
        assert kind == "returned", found
        return InferResult(*found) if name == "infer" else found

    def describe(self, name: str, *arguments: str, **options: Any) -> Any:
        """The same, as a dict."""
        if self.over_grpc:
            options["as_json"] = True
        return self.call(name, *arguments, **options)

    def stream_results(self, count: int) -> list[tuple[InferResult | None, str | None]]:
        """The next results of the stream that `start_stream` opened, each with its error."""
        return _results(self.call("stream_results", count))

    def stream_infer(self, requests: list[dict[str, Any]]) -> list[tuple[InferResult | None, str | None]]:
        """The results of a whole stream of the asyncio client, each with its error."""
        return _results(self.call("stream_infer", requests))

    def tensor(
        self,
        name: str,
        values: "np.ndarray[Any, Any]",
        datatype: str,
        place: tuple[str, int, int] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """An input that holds these values, or that is at a place in shared memory: region, bytes, offset."""
        return {"input": name, "values": values, "datatype": datatype, "place": place, "options": options}

    def output(self, name: str, place: tuple[str, int, int] | None = None, **options: Any) -> dict[str, Any]:
        """A requested output, in the response or at a place in shared memory."""
        return {"output": name, "place": place, "options": options}


def _results(found: list[tuple[Any, str | None]]) -> list[tuple[InferResult | None, str | None]]:
    return [(None if result is None else InferResult(*result), error) for result, error in found]


def schemas() -> list[FileDescriptorProto]:
    """The message definitions that the stock client brings."""
    done = subprocess.run([client_python(REQUIREMENTS), RUNNER, "schemas"], stdout=subprocess.PIPE, check=True)
    return [FileDescriptorProto.FromString(each) for each in pickle.loads(done.stdout)]


def pictures(*each: bytes) -> "np.ndarray[Any, Any]":
    """Encoded pictures as the array that a client sends them in."""
    return np.array(each, dtype=np.object_)
