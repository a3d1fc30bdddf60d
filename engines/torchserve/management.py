"""One TorchServe host for delivery: versions registered, scaled, proven, switched to, drained and removed."""

import logging
import time
from pathlib import Path
from typing import Self

from engines.described import Address, Answer, Copy, Request, Version
from engines.interface import Facts
from engines.torchserve import keys, paths
from engines.torchserve.calls import NOT_FOUND, Calls
from engines.torchserve.drain import drain
from engines.torchserve.entries import version_of
from engines.torchserve.unpacked import one_registration, unreadable
from engines.torchserve.workers import Unnamed, reach_all
from errors import EngineError
from settings.schema import Engine, Node, RequestParams

log = logging.getLogger(__name__)

ANSWER_S = 5.0  # a management call of a host that is well takes milliseconds


class Management:
    """Host of `engines.interface`, over the Management API and, to try versions, the Inference API."""

    def __init__(self, engine: Engine, node: Node, facts: Facts) -> None:
        self._engine = engine
        self._node = node
        self._facts = facts
        self._calls = Calls(node, facts)

    @property
    def node(self) -> Node:
        """Which host."""
        return self._node

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._calls.close()

    def answers(self) -> bool:
        """Whether it answers at all and accepts the keys; decided in a few seconds."""
        try:
            self._calls.manage("GET", paths.MODELS, params={"limit": 1}, timeout=ANSWER_S)
        except EngineError:
            return False
        return True

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        names: list[str] = []
        start: str | None = "0"
        while start:
            page = self._calls.manage("GET", paths.page(start)).json()
            names += [entry["modelName"] for entry in page["models"]]
            start = page.get("nextPageToken")
        return sorted(names)

    def versions(self, model: str) -> list[Version]:
        """All registered versions; empty for an unknown model."""
        answer = self._calls.manage("GET", paths.versions(model), accept=NOT_FOUND)
        return [] if answer.status_code == 404 else [version_of(entry) for entry in answer.json()]

    def default(self, model: str) -> Version | None:
        """The version that requests without a version go to."""
        answer = self._calls.manage("GET", paths.model(model), accept=NOT_FOUND)
        return None if answer.status_code == 404 else version_of(answer.json()[0])

    def find(self, model: str, version: str) -> Version | None:
        """One version; None when it is not registered."""
        return next((found for found in self.versions(model) if found.version == version), None)

    def hides_copies(self) -> str | None:
        """Why its own copies of archives cannot be compared with what was checked, and what to do."""
        if self._facts.compares_archives:
            return None
        setting = f"`unpacked` of node {self._node.name} in engine.nodes" if self._engine.nodes else "engine.unpacked"
        return unreadable(self._node.unpacked, setting)

    def register(
        self, model: str, url: str, params: RequestParams, timeout_s: float, sha256: str | None = None
    ) -> Copy:
        """Have it fetch an archive, without workers yet; returns its own copy. The first version becomes the default.

        An engine that compares archives refuses one that has not this sha256.
        """
        self._forget_half(url)
        query = paths.registration(model, url, params, sha256 if self._facts.compares_archives else None)
        hidden = self.hides_copies()
        if self._facts.compares_archives or hidden is not None:
            self._calls.manage("POST", paths.MODELS, params=query, timeout=timeout_s)
            return Copy(hidden=hidden)
        with one_registration(Path(self._node.unpacked or "")) as found:
            self._calls.manage("POST", paths.MODELS, params=query, timeout=timeout_s)
            return found()

    def scale(self, model: str, version: str, workers: int, timeout_s: float) -> None:
        """Set the number of workers and wait until they have loaded the model; EngineError when they do not."""
        self._calls.manage("PUT", paths.model(model, version), params=paths.scaling(workers), timeout=timeout_s)

    def warm(self, version: Version, request: Request, times: int, timeout_s: float) -> bool:
        """Have every ready worker answer so often; False when that took too long."""
        try:
            return reach_all(self, version, request, time.monotonic() + timeout_s, times)
        except Unnamed as reason:
            log.warning("%s; its golden inputs have warmed it", reason)
            return True

    def predict(self, model: str, version: str, request: Request, *, timeout_s: float | None = None) -> Answer:
        """One prediction by exactly this version, whatever its status."""
        timeout = timeout_s or self._engine.response_timeout_s
        path = paths.prediction(model, version)
        answer = self._calls.predict(path, request.body, request.content_type, timeout)
        worker = answer.headers.get("x-worker-pid")
        return Answer(answer.status_code, answer.content, None if worker is None else int(worker))

    def set_default(self, model: str, version: str) -> None:
        """Send requests without a version to this one from now on."""
        self._calls.manage("PUT", paths.default(model, version), timeout=self._facts.change_s)

    def drain(self, version: Version, request: Request, timeout_s: float) -> bool:
        """Wait until a version without traffic has answered all it was given; False, and a warning, when too late."""
        return drain(self, version, request, timeout_s)

    def unregister(self, model: str, version: str) -> None:
        """Remove a version and its workers; unknown is fine. The default goes only when it is the last."""
        path = paths.model(model, version)
        self._calls.manage("DELETE", path, accept=NOT_FOUND, timeout=self._facts.change_s)

    def address(self, model: str, version: str | None = None) -> Address:
        """Where predictions are posted by those who measure the engine itself."""
        token = keys.token(self._node, "inference", self._facts.title)
        return Address(self._node.inference_url + paths.prediction(model, version), f"Bearer {token}")

    def _forget_half(self, url: str) -> None:
        """Delete what is left of a fetch that broke, where an archive of that name is not fetched again.

        An archive that is named by its file alone is fetched from nowhere: that file is the store's.
        """
        folder = self._node.model_store
        if self._facts.keeps_failed_fetches and folder is not None and "://" in url:
            (Path(folder) / url.partition("?")[0].rsplit("/", 1)[-1]).unlink(missing_ok=True)
