"""Client of TorchServe 0.12's Management API, and of its Inference API for golden answers.

What 0.12 wants and its documentation does not say: versions are listed by `/models/NAME/all`, deleted by path
(`DELETE /models/NAME/VERSION`; a query is ignored), and a second archive of the same file name is refused.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import requests

from delivery import keys
from delivery.keys import Kind
from errors import EngineError
from settings.schema import Node, RequestParams, TorchServe

NOT_FOUND = frozenset({404})
ANSWER_S = 5.0  # a management call of a host that is well takes milliseconds
PAGE = 100  # models a page, the most that TorchServe gives
NO_HEADERS: Mapping[str, str] = {}


@dataclass(frozen=True)
class Version:
    """One registered version of a model, as TorchServe describes it; `pids` are those of its ready workers."""

    model: str
    version: str
    url: str
    batch_size: int
    max_batch_delay: int
    min_workers: int
    pids: frozenset[int]
    pending_requests: int
    started: str | None

    @property
    def archive(self) -> str:
        """The archive's name in the store; a signed URL carries a query behind it."""
        return self.url.partition("?")[0].rsplit("/", 1)[-1]

    @property
    def ready_workers(self) -> int:
        """Workers that have loaded the model."""
        return len(self.pids)

    def has(self, params: RequestParams) -> bool:
        """Whether it was registered with these settings."""
        found = (self.batch_size, self.max_batch_delay, self.min_workers)
        return found == (params.batch_size, params.max_batch_delay, params.initial_workers)


class Management:
    """One TorchServe; a context manager that closes its connections. Every error is an EngineError of one line."""

    def __init__(self, engine: TorchServe, node: Node | None = None) -> None:
        """The host `node`, the first one of the engine for None."""
        self._engine = engine
        self.node = node or engine.hosts[0]
        self._session = requests.Session()

    def __enter__(self) -> "Management":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close its connections."""
        self._session.close()

    def answers(self) -> bool:
        """Whether it answers at all and accepts the keys; decided in a few seconds."""
        try:
            self._call("GET", "/models", params={"limit": 1}, timeout=ANSWER_S)
        except EngineError:
            return False
        return True

    def versions(self, model: str) -> list[Version]:
        """All registered versions; empty for an unknown model."""
        answer = self._call("GET", f"/models/{model}/all", accept=NOT_FOUND)
        return [] if answer.status_code == 404 else [_version(entry) for entry in answer.json()]

    def default(self, model: str) -> Version | None:
        """The version that requests without a version go to."""
        answer = self._call("GET", f"/models/{model}", accept=NOT_FOUND)
        return None if answer.status_code == 404 else _version(answer.json()[0])

    def find(self, model: str, version: str) -> Version | None:
        """One version; None when it is not registered."""
        return next((found for found in self.versions(model) if found.version == version), None)

    def models(self) -> list[str]:
        """Names of all registered models, sorted."""
        names: list[str] = []
        start: str | None = "0"
        while start:
            page = self._call("GET", "/models", params={"limit": PAGE, "next_page_token": start}).json()
            names += [entry["modelName"] for entry in page["models"]]
            start = page.get("nextPageToken")
        return sorted(names)

    def register(self, model: str, url: str, params: RequestParams, timeout_s: float) -> None:
        """Register an archive, without workers yet. The first version becomes the default."""
        query = {
            "url": url,
            "model_name": model,
            "batch_size": params.batch_size,
            "max_batch_delay": params.max_batch_delay,
            "initial_workers": 0,
        }
        self._call("POST", "/models", params=query, timeout=timeout_s)

    def scale(self, model: str, version: str, workers: int, timeout_s: float) -> None:
        """Set the number of workers and wait until they have loaded the model; EngineError when they do not."""
        query = {"min_worker": workers, "max_worker": workers, "synchronous": "true"}
        self._call("PUT", f"/models/{model}/{version}", params=query, timeout=timeout_s)

    def set_default(self, model: str, version: str) -> None:
        """Send requests without a version to this one from now on."""
        self._call("PUT", f"/models/{model}/{version}/set-default")

    def unregister(self, model: str, version: str) -> None:
        """Remove a version and its workers; unknown is fine. The default goes only when it is the last."""
        self._call("DELETE", f"/models/{model}/{version}", accept=NOT_FOUND)

    def predict(
        self, model: str, version: str, body: bytes, content_type: str, *, timeout: float | None = None
    ) -> requests.Response:
        """One prediction by exactly this version, whatever its status."""
        return self._send(
            "inference",
            "POST",
            f"{self.node.inference_url}/predictions/{model}/{version}",
            data=body,
            headers={"Content-Type": content_type},
            timeout=timeout or self._engine.response_timeout_s,
        )

    def _call(
        self,
        method: str,
        path: str,
        *,
        accept: frozenset[int] = frozenset(),
        params: Mapping[str, Any] | None = None,
        timeout: float = 30,
    ) -> requests.Response:
        url = f"{self.node.management_url}{path}"
        answer = self._send("management", method, url, params=params, timeout=timeout)
        if not answer.ok and answer.status_code not in accept:
            raise EngineError(f"TorchServe answered {method} {path} with {answer.status_code}: {_message(answer)}")
        return answer

    def _send(
        self, kind: Kind, method: str, url: str, *, headers: Mapping[str, str] = NO_HEADERS, **options: Any
    ) -> requests.Response:
        """Send with the key of `kind`; a refused key has expired or was replaced by a restart, so renew it once."""
        answer = self._attempt(method, url, headers, keys.of_node(self.node), kind, options)
        if _refused_key(answer):
            answer = self._attempt(method, url, headers, keys.renew(self.node, kind), kind, options)
        if _refused_key(answer):
            raise EngineError(f"TorchServe does not accept the keys in {self.node.key_file or 'its settings'}")
        return answer

    def _attempt(
        self, method: str, url: str, headers: Mapping[str, str], found: keys.Keys, kind: Kind, options: dict[str, Any]
    ) -> requests.Response:
        authorized = {**headers, "Authorization": f"Bearer {found.of(kind)}"}
        try:
            return self._session.request(method, url, headers=authorized, **options)
        except requests.ReadTimeout:
            raise EngineError(f"TorchServe did not answer {method} in {options['timeout']:g} s") from None
        except (requests.ConnectionError, requests.ConnectTimeout):
            raise EngineError(f"no TorchServe at {self.node.management_url}; `make up` starts it") from None
        except requests.RequestException as error:
            raise EngineError(f"TorchServe did not answer {method}: {type(error).__name__}") from None


def _refused_key(answer: requests.Response) -> bool:
    return answer.status_code == 400 and "InvalidKeyException" in answer.text


def _message(answer: requests.Response) -> str:
    try:
        return " ".join(str(answer.json()["message"]).split())
    except (ValueError, KeyError, TypeError):
        return answer.reason


def _version(entry: Mapping[str, Any]) -> Version:
    return Version(
        model=entry["modelName"],
        version=entry["modelVersion"],
        url=entry["modelUrl"],
        batch_size=entry["batchSize"],
        max_batch_delay=entry["maxBatchDelay"],
        min_workers=entry["minWorkers"],
        pids=frozenset(worker["pid"] for worker in entry["workers"] if worker["status"] == "READY"),
        pending_requests=entry.get("jobQueueStatus", {}).get("pendingRequests", 0),
        started=min((worker["startTime"] for worker in entry["workers"]), default=None),
    )
