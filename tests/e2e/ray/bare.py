"""engine=ray spoken to directly: archives that the kit did not make, from a folder as the store."""

import json
from pathlib import Path

import requests

from tests.e2e.conftest import Stack


class Engine:
    """A stack with engine=ray, spoken to directly."""

    def __init__(self, stack: Stack, host: str = "127.0.0.1") -> None:
        self.stack = stack
        self._host = host

    def key(self, name: str) -> str:
        return str(json.loads((self.stack.state / "ray" / "key_file.json").read_text())[name]["key"])

    def manage(self, method: str, path: str, key: str | None = None, **query: object) -> requests.Response:
        url = f"http://{self._host}:{self.stack.env['MARINA_MANAGEMENT_PORT']}{path}"
        headers = {"Authorization": f"Bearer {self.key('management') if key is None else key}"}
        return requests.request(method, url, params={k: str(v) for k, v in query.items()}, headers=headers, timeout=180)

    def ask(self, path: str, body: bytes, media_type: str = "application/json", **headers: str) -> requests.Response:
        url = f"http://{self._host}:{self.stack.env['MARINA_INFERENCE_PORT']}/predictions/{path}"
        headers = {"Authorization": f"Bearer {self.key('inference')}", "Content-Type": media_type, **headers}
        return requests.post(url, data=body, headers=headers, timeout=180)

    def register(self, archive: Path, **query: object) -> requests.Response:
        wanted = {"initial_workers": 1, "synchronous": "true", "batch_size": 4, **query}
        return self.manage("POST", "/models", None, url=archive.name, **wanted)

    def logged(self, part: str) -> set[str]:
        """The events in the log of a part, every line of which is JSON."""
        lines = (self.stack.state / "logs" / f"{part}.log").read_text().splitlines()
        return {str(json.loads(line)["event"]) for line in lines}
