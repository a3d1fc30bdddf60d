"""The one client of an engine host, over its Management and its Inference API.

    delivery, stack, load test ──▶ EngineClient ──requests──▶ one host
    gateway's catalog ──threads──▶      └── KeyRing ◀── gateway's predictions, over connections of their own

Every method blocks for a bounded time and may be called from any thread. Every failure is an EngineError of one line,
or a DiskError where the model store cannot be cleared.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import requests

from engines.engine_profile import (
    ArchiveCopy,
    EngineEndpoint,
    EngineProfile,
    Interface,
    ModelVersion,
    PredictionInput,
    PredictionResponse,
)
from engines.torchserve import api, unpacked
from engines.torchserve.auth import KeyRing, direct_session
from engines.torchserve.drain import Probe, WorkerNotNamed, reach_all, wait_until_drained
from engines.torchserve.error_responses import is_key_refused
from errors import EngineError
from files import explained
from settings.schema import EngineHostSettings, EngineSettings, RegistrationSettings

log = logging.getLogger(__name__)

NOT_FOUND = frozenset({404})
NOT_ALLOWED = frozenset({405})
ANSWER_S = 5.0  # a healthy host answers a management call within milliseconds
PING_S = 2.0
PROXY_ERRORS = frozenset({502, 503, 504})
# TorchServe's answer when it cannot end a worker.
INTERRUPTED = "Interrupted while cleaning resources"
NO_KILL = (
    "it ends workers with the program `kill`, which is missing where it runs: install Debian's package procps there and"
    " restart it"
)
NO_MODEL_API = "it lets nobody register or remove models: start it with --enable-model-api, or enable_model_api=true"
NO_HEADERS: Mapping[str, str] = {}


class EngineKeyRefused(EngineError):
    """The engine wants a token, and does not accept the one that is known here, if any."""


class EngineClient:
    """One host of an engine; a context manager that closes its connections."""

    def __init__(
        self, engine: EngineSettings, host: EngineHostSettings, profile: EngineProfile, timeout_s: float
    ) -> None:
        """Send no request yet. `timeout_s` bounds the requests that only describe something."""
        self.node = host
        # Tokens are renewed in the last fifth of their life, but no earlier than a minute before its end.
        self.keys = KeyRing(host, profile, min(60.0, engine.token_expiration_min * 60 / 5))
        self._engine = engine
        self._profile = profile
        self._timeout_s = timeout_s
        self._local = threading.local()
        self._sessions: list[requests.Session] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of all threads."""
        for session in self._sessions:
            session.close()

    def is_alive(self) -> bool:
        """Return within a few seconds whether the host answers; this needs no key and costs the host almost nothing.

        TorchServe's own 500 says that a model has lost its workers; the others are a proxy's, for a host that is away.
        """
        with contextlib.suppress(requests.RequestException):
            answer = self._session.get(self.node.inference_url + api.PING, timeout=PING_S)
            return answer.status_code not in PROXY_ERRORS
        return False

    def answers(self) -> bool:
        """Return within a few seconds whether the host answers and accepts the keys."""
        try:
            self._manage("GET", api.MODELS, params={"limit": 1}, timeout=ANSWER_S)
        except EngineError:
            return False
        return True

    def models(self) -> list[str]:
        """Return the names of all registered models, sorted."""
        names: list[str] = []
        start: str | None = "0"
        while start:
            page = _json(self._manage("GET", api.page_path(start)))
            names += [str(entry["modelName"]) for entry in page["models"]]
            start = page.get("nextPageToken")
        return sorted(names)

    def versions(self, model: str) -> list[ModelVersion]:
        """Return all registered versions; none for an unknown model."""
        answer = self._manage("GET", api.versions_path(model), accept=NOT_FOUND)
        return [] if answer.status_code == 404 else [api.model_version(entry) for entry in _json(answer)]

    def default(self, model: str) -> ModelVersion | None:
        """Return the version that answers requests without a version; None for an unknown model."""
        answer = self._manage("GET", api.model_path(model), accept=NOT_FOUND)
        return None if answer.status_code == 404 else api.model_version(_json(answer)[0])

    def workflows(self) -> list[str]:
        """Return the names of TorchServe's workflows, sorted; none where it has no such API."""
        answer = self._manage("GET", api.WORKFLOWS, accept=NOT_FOUND | NOT_ALLOWED)
        return sorted(str(entry["workflowName"]) for entry in _json(answer)["workflows"]) if answer.ok else []

    def find(self, model: str, version: str) -> ModelVersion | None:
        """Return one version; None when it is not registered."""
        return next((found for found in self.versions(model) if found.version == version), None)

    def card(self, model: str, version: str) -> Mapping[str, Any] | None:
        """Return the model card, which a worker provides.

        It is empty for an archive without a card, and None when no worker answered.
        """
        try:
            answer = self._manage("GET", api.card_path(model, version))
            [found] = _json(answer)
        except (EngineError, ValueError):
            return None
        card = found.get("customizedMetadata")
        return card if isinstance(card, dict) else {}

    def hides_copies(self) -> str | None:
        """Return why this machine cannot compare the engine's copies of archives, and the remedy; None when it can."""
        if self._profile.compares_archives:
            return None
        setting = f"`unpacked` of node {self.node.name} in engine.nodes" if self._engine.nodes else "engine.unpacked"
        return unpacked.unreadable(self.node.unpacked, setting)

    def register(
        self, model: str, url: str, params: RegistrationSettings, timeout_s: float, sha256: str | None = None
    ) -> ArchiveCopy:
        """Have the host fetch an archive, without workers yet, and return its own copy of the archive.

        The first version of a model becomes its default. An engine that compares archives refuses one with another
        sha256.
        """
        self._forget_failed_fetch(url)
        compared = sha256 if self._profile.compares_archives else None
        query = api.registration(model, url, params, self._engine.response_timeout_s, compared)
        hidden = self.hides_copies()
        if self._profile.compares_archives or hidden is not None:
            self._manage("POST", api.MODELS, params=query, timeout=timeout_s)
            return ArchiveCopy(hidden=hidden)
        with unpacked.one_registration(Path(self.node.unpacked or "")) as found:
            self._manage("POST", api.MODELS, params=query, timeout=timeout_s)
            return found()

    def scale(self, model: str, version: str, workers: int, timeout_s: float) -> None:
        """Set the number of workers and wait until they have loaded the model. Raises EngineError when they do not.

        The description may follow a moment later. More workers lose no request. Fewer may lose some, so register
        another version to have fewer.
        """
        self._manage("PUT", api.model_path(model, version), params=api.scaling(workers), timeout=timeout_s)

    def warm(self, version: ModelVersion, request: PredictionInput, times: int, timeout_s: float) -> bool:
        """Have every ready worker answer `times` times; return False when that takes longer than `timeout_s`."""
        try:
            return reach_all(self._probe(version, request), time.monotonic() + timeout_s, times)
        except WorkerNotNamed as reason:
            log.warning("%s; its golden inputs have warmed it", reason)
            return True

    def predict(
        self, model: str, version: str, request: PredictionInput, *, timeout_s: float | None = None
    ) -> PredictionResponse:
        """Return one prediction of exactly this version, whatever its status."""
        answer = self._send(
            "inference",
            "POST",
            self.node.inference_url + api.prediction_path(model, version),
            headers={**request.headers, "Content-Type": request.content_type},
            data=request.body,
            timeout=timeout_s or self._engine.response_timeout_s,
        )
        worker = answer.headers.get("x-worker-pid")
        headers = {name.lower(): value for name, value in answer.headers.items()}
        pid = None if worker is None else int(worker)
        return PredictionResponse(answer.status_code, answer.content, pid, headers)

    def set_default(self, model: str, version: str) -> None:
        """Send requests without a version to this one from now on."""
        self._manage("PUT", api.default_path(model, version), timeout=self._profile.change_s)

    def drain(self, version: ModelVersion, request: PredictionInput, timeout_s: float) -> bool:
        """Wait until a version without traffic has answered all its requests.

        Returns False, after a warning, when that takes longer than `timeout_s`. `request` is one that the version
        answers; it is sent to the workers to learn what they have finished.
        """
        return wait_until_drained(self._probe(version, request), timeout_s)

    def unregister(self, model: str, version: str) -> None:
        """Remove a version and its workers; an unknown one is ignored. The default version must be the last to go."""
        path = api.model_path(model, version)
        self._manage("DELETE", path, accept=NOT_FOUND, timeout=self._profile.change_s)

    def endpoint(self, model: str, version: str | None = None) -> EngineEndpoint:
        """Return where to post predictions, for a program that measures the engine itself."""
        self.keys.reread()
        token = self.keys.token("inference")
        return EngineEndpoint(self.node.inference_url + api.prediction_path(model, version), f"Bearer {token}")

    @property
    def _session(self) -> requests.Session:
        """The session of the calling thread."""
        session: requests.Session | None = getattr(self._local, "session", None)
        if session is None:
            session = self._local.session = direct_session()
            self._sessions.append(session)
        return session

    def _probe(self, version: ModelVersion, request: PredictionInput) -> Probe:
        return Probe(
            version,
            lambda: self.find(version.model, version.version),
            lambda timeout_s: self.predict(version.model, version.version, request, timeout_s=timeout_s),
        )

    def _forget_failed_fetch(self, url: str) -> None:
        """Delete the remains of a broken fetch, where the engine does not fetch an archive of the same name again.

        An archive whose URL is a mere file name is not fetched: that file belongs to the store.
        """
        folder = self.node.model_store
        if self._profile.keeps_failed_fetches and folder is not None and "://" in url:
            path = Path(folder) / url.partition("?")[0].rsplit("/", 1)[-1]
            with explained(path):
                path.unlink(missing_ok=True)

    def _manage(
        self,
        method: str,
        path: str,
        *,
        accept: frozenset[int] = frozenset(),
        params: Mapping[str, Any] | None = None,
        timeout: float | None = None,
    ) -> requests.Response:
        """Call the Management API. Any status that is neither a success nor in `accept` is an EngineError."""
        url = f"{self.node.management_url}{path}"
        answer = self._send("management", method, url, params=params, timeout=timeout or self._timeout_s)
        if not answer.ok and answer.status_code not in accept:
            answered = f"{self._profile.title} answered {method} {path} with {answer.status_code}"
            switched_off = f"; {NO_MODEL_API}" if answer.status_code == 405 else ""
            raise EngineError(f"{answered}: {_message(answer)}{switched_off}")
        return answer

    def _send(
        self, interface: Interface, method: str, url: str, *, headers: Mapping[str, str] = NO_HEADERS, **options: Any
    ) -> requests.Response:
        """Send with the token, and once more with another one if the engine refuses it.

        Without any token, the engine decides whether it needs one.
        """
        token: str | None = None
        refusal = f"{self._profile.title} does not accept the keys in {self.keys.source}"
        try:
            token = self.keys.token(interface)
        except EngineError as error:
            refusal = str(error)
        answer = self._attempt(method, url, headers, token, options)
        if _refuses_key(answer) and self.keys.replace(interface, token):
            answer = self._attempt(method, url, headers, self.keys.token(interface), options)
        if _refuses_key(answer):
            raise EngineKeyRefused(refusal)
        return answer

    def _attempt(
        self, method: str, url: str, headers: Mapping[str, str], token: str | None, options: dict[str, Any]
    ) -> requests.Response:
        title, parts = self._profile.title, urlsplit(url)
        known = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            return self._session.request(method, url, headers={**headers, **known}, **options)
        except requests.ReadTimeout:
            raise EngineError(f"{title} did not answer {method} {parts.path} in {options['timeout']:g} s") from None
        except (requests.ConnectionError, requests.ConnectTimeout):
            where = f"{parts.scheme}://{parts.netloc}"
            raise EngineError(f"no {title} at {where}; {self._engine.start_hint}") from None
        except requests.RequestException as error:
            raise EngineError(f"{title} did not answer {method} {parts.path}: {type(error).__name__}") from None


def _refuses_key(answer: requests.Response) -> bool:
    return answer.status_code >= 400 and is_key_refused(answer.status_code, answer.content)


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except requests.JSONDecodeError:
        raise EngineError(f"the Management API at {answer.url.partition('?')[0]} did not answer in JSON") from None


def _message(answer: requests.Response) -> str:
    try:
        said = " ".join(str(answer.json()["message"]).split())
    except (ValueError, KeyError, TypeError):
        return answer.reason
    return f"{said}; {NO_KILL}" if said.startswith(INTERRUPTED) else said
