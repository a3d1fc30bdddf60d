"""Runs in a worker of the test engine: answers in the shapes of the kit's handlers and repeats what it was sent.

What a request asks for: the bytes `bad` are refused alone, `raise` breaks the handler, `sleep` holds the worker for a
moment, the state 87 for long and `hold FILE` for as long as the file is there, `die` ends its process. The card it
shows is the archive's model.json, whose `echo`, if any, is each prediction. An adopted one answers with the fields of a
form.
"""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

HOLD_S = 1.5
LONG_S = 30
TRACE = ("traceparent", "X-Request-Start")


class EchoHandler:
    def initialize(self, context: Any) -> None:
        self.context = context
        self.model = context.manifest["model"]["modelName"]
        self.version = context.manifest["model"]["modelVersion"]
        self.card = json.loads((Path(context.system_properties["model_dir"]) / "model.json").read_text())

    def handle(self, data: list[dict[str, Any]], context: Any) -> list[Any]:
        if context.get_request_header(0, "describe") == "True":
            return [json.dumps(self.card)]  # text: to look at anything else, the worker imports torch
        return [self._answer(position, row) for position, row in enumerate(data)]

    def _answer(self, position: int, row: dict[str, Any]) -> str:
        explains = self.context.get_request_header(position, "explain") == "True"
        if self.card.get("kind") == "adopted":
            self.context.set_response_header(position, "x-worker-pid", str(os.getpid()))
            return json.dumps({"explains": explains, "fields": {name: _text(value) for name, value in row.items()}})
        sent = row.get("body") or row.get("data")
        content = bytes(sent) if isinstance(sent, bytes | bytearray) else json.dumps(sent).encode()
        self._misbehave(content)
        self.context.set_response_content_type(position, "application/json")
        self.context.set_response_header(position, "x-model-version", self.version)
        if b"bad" in content[:16]:
            self.context.set_response_status(code=400, phrase="Bad Request", idx=position)
            return json.dumps({"error": "unreadable_input", "detail": "this is not a picture"})
        echo = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "type": self.context.get_request_header(position, "Content-Type"),
            "request_id": self.context.get_request_header(position, "X-Request-Id"),
            "headers": {name: value for name in TRACE if (value := self.context.get_request_header(position, name))},
            "parsed": not isinstance(sent, bytes | bytearray),
        }
        count = len(sent["instances"]) if isinstance(sent, dict) and "instances" in sent else 1
        predictions = [self._prediction() for _ in range(count)]
        items = "explanations" if explains else "predictions"
        return json.dumps({"model": self.model, "version": self.version, items: predictions, "echo": echo})

    def _misbehave(self, content: bytes) -> None:
        if content.startswith(b"raise"):
            raise RuntimeError("the test asked for it")
        if content.startswith((b"sleep", b'{"s": 86.0')):
            time.sleep(HOLD_S)
        if content.startswith(b'{"s": 87.0'):
            time.sleep(LONG_S)
        if content.startswith(b"hold /"):
            while os.path.exists(content.split()[1]):  # noqa: PTH110 - the bytes are the path
                time.sleep(0.01)
        if content.startswith(b"die"):
            os._exit(1)

    def _prediction(self) -> dict[str, Any]:
        if "echo" in self.card:
            return dict(self.card["echo"])
        if self.card.get("kind") == "policy":
            return {"action": 1}
        return {"label": "7", "confidence": 0.75, "probabilities": {"7": 0.75, "1": 0.25}}


def _text(value: Any) -> str:
    return bytes(value).decode("latin-1") if isinstance(value, bytes | bytearray) else str(value)
