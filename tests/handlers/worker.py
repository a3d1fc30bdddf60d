"""TorchServe's own worker code around a handler: model loader, service, context and wire format, without the socket."""

import json
import struct
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory

from tests.handlers.archives import ROOT


@dataclass(frozen=True)
class Answer:
    """What TorchServe's frontend gets from the worker for one request of a batch."""

    status: int
    phrase: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def predictions(self) -> Any:
        assert self.status == 200, self.body
        return self.json["predictions"]

    @property
    def error(self) -> tuple[int, str]:
        assert self.status >= 400, self.body
        return self.status, self.json["error"]


def request(body: Any, media: str = "", **headers: str) -> dict[str, Any]:
    """Make one request of a batch; JSON bodies are given parsed, as the worker's protocol does before the handler."""
    parameter = {"name": "body", "contentType": media, "value": body}
    named = [{"name": name.replace("_", "-").encode(), "value": value.encode()} for name, value in headers.items()]
    return {"requestId": b"id", "headers": named, "parameters": [parameter]}


def picture(body: bytes, **headers: str) -> dict[str, Any]:
    return request(bytearray(body), "image/png", **headers)


def parsed(body: Any, **headers: str) -> dict[str, Any]:
    return request(body, "application/json", **headers)


class Worker:
    """A loaded model that answers batches."""

    def __init__(self, folder: Path, entry: str, batch_size: int = 4) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves closing the file to the collector
            metrics = MetricsCacheYamlImpl(str(ROOT / "docker" / "metrics.yaml"))
        metrics.initialize_cache()
        metrics.model_name = "model"
        loader = ModelLoaderFactory.get_model_loader()
        self.service = loader.load("model", str(folder), entry, None, batch_size, None, True, metrics)
        self.service.set_cl_socket(None)

    def answer(self, *requests: dict[str, Any]) -> list[Answer]:
        batch = [{**item, "requestId": str(index).encode()} for index, item in enumerate(requests)]
        return _unpack(bytes(self.service.predict(batch)))

    def one(self, item: dict[str, Any]) -> Answer:
        return self.answer(item)[0]


def _unpack(message: bytes) -> list[Answer]:
    reader = _Reader(message)
    code, text = reader.integer(), reader.text()
    assert code == 200, (code, text)
    answers = []
    while (length := reader.integer()) != -1:
        reader.take(length)
        reader.text()
        status, phrase = reader.integer(), reader.text()
        headers = {}
        for _ in range(reader.integer()):
            name = reader.text()
            headers[name] = reader.text()
        answers.append(Answer(status, phrase, headers, reader.take(reader.integer())))
    return answers


class _Reader:
    def __init__(self, message: bytes) -> None:
        self.rest = message

    def take(self, length: int) -> bytes:
        taken, self.rest = self.rest[:length], self.rest[length:]
        assert len(taken) == length
        return taken

    def integer(self) -> int:
        return int(struct.unpack("!i", self.take(4))[0])

    def text(self) -> str:
        return self.take(self.integer()).decode()
