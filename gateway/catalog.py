"""The models and versions that the engine serves, refreshed in the background.

    engine ──▶ Survey.look: every model, version and card ──▶ Snapshot ──▶ Catalog.find

A prediction uses the last snapshot and starts the next survey when that snapshot is older than the time to live. A
request waits for a survey only when the snapshot lacks its model. All such requests share one survey, which begins
after they arrived and at least `PAUSE_S` after the previous one. So a flood of unknown names costs the engine no more
than one does.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from engines.engine_profile import ModelVersion
from engines.torchserve.engine_client import PING_S, EngineClient
from errors import EngineError, NoWorker, UnknownModel
from gateway import model_card as cards
from gateway.model_card import Kind, ModelCard
from logs import event, log_task_error


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """One version of a model. `pending` and `capacity` are requests; `max_batch_delay` is ms.

    `archive` is the path or URL that the engine loaded, for comparison only: clients never see it.
    """

    model: str
    version: str
    default: bool
    workers_ready: int
    workers: int
    min_workers: int
    max_workers: int
    batch_size: int
    max_batch_delay: int
    pending: int
    capacity: int
    card: ModelCard
    archive: str = ""

    @property
    def kind(self) -> Kind | None:
        """The kind of the model; None while no worker has reported a card."""
        return cards.kind_of(self.card)

    def public(self) -> dict[str, Any]:
        """Return the part that clients may see: no address, no path and no process of the engine."""
        return {
            "version": self.version,
            "default": self.default,
            "workers": {
                "ready": self.workers_ready,
                "total": self.workers,
                "min": self.min_workers,
                "max": self.max_workers,
            },
            "queue": {"pending": self.pending, "free": self.capacity},
            "batch": {
                "batch_size": self.batch_size,
                "max_batch_delay": self.max_batch_delay,
                **cards.registration(self.card),
            },
            **{key: value for key, value in cards.public(self.card).items() if key != "model_name"},
        }


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model and all its versions."""

    name: str
    versions: tuple[ServedVersion, ...]

    @property
    def default(self) -> ServedVersion:
        """The version that answers when none is named."""
        for version in self.versions:
            if version.default:
                return version
        return self.versions[0]

    def version(self, version: str | None) -> ServedVersion | None:
        """Return a version by its name, the default one for None."""
        if version is None:
            return self.default
        return next((each for each in self.versions if each.version == version), None)

    def public(self) -> dict[str, Any]:
        """Return the part that clients may see."""
        return {
            "name": self.name,
            "default_version": self.default.version,
            "versions": [version.public() for version in self.versions],
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All models at one moment (`taken`, seconds of the event loop's clock)."""

    models: Mapping[str, ServedModel]
    taken: float

    def find(self, name: str, version: str | None) -> ServedVersion | None:
        """Return a version of a model, None when it is not served."""
        model = self.models.get(name)
        return None if model is None else model.version(version)


def described(found: ModelVersion, *, default: bool, card: ModelCard) -> ServedVersion:
    """Return the engine's description of one version in the gateway's form."""
    return ServedVersion(
        model=found.model,
        version=found.version,
        default=default,
        workers_ready=found.ready_workers,
        workers=len(found.workers),
        min_workers=found.min_workers,
        max_workers=found.max_workers,
        batch_size=found.batch_size,
        max_batch_delay=found.max_batch_delay,
        pending=found.pending_requests,
        capacity=found.free,
        card=card,
        archive=found.url,
    )


Fingerprint = tuple[str, tuple[str, ...]]
Found = TypeVar("Found")

# A description waits in the queue of a busy worker; the catalog goes on without it after this time.
READ_S = 5.0
THREADS = 16


class Survey:
    """Describes everything that one engine host serves.

    A worker provides the card, so the survey reads it once and again when the version's archive or workers change. The
    engine's client blocks, so each survey runs in its own threads: a host that hangs delays no other.
    """

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._cards: dict[tuple[str, str], tuple[Fingerprint, ModelCard]] = {}
        self._threads = ThreadPoolExecutor(THREADS, f"survey-{client.node.name}")
        self._ping_thread = ThreadPoolExecutor(1, f"ping-{client.node.name}")

    async def is_alive(self) -> bool:
        """Return within two seconds whether the host answers."""
        try:
            return await self._in(self._ping_thread, PING_S, self._client.is_alive)
        except EngineError:
            return False

    async def look(self) -> dict[str, ServedModel]:
        """Return all models by name. Raises EngineError when the engine does not answer."""
        names = await self._read(self._client.models)
        models = await asyncio.gather(*(self._model(name) for name in names))
        found = {model.name: model for model in models if model is not None}
        seen = {(version.model, version.version) for model in found.values() for version in model.versions}
        self._cards = {key: card for key, card in self._cards.items() if key in seen}
        return found

    def close(self) -> None:
        """Close the connections; a call that is under way ends by its own timeout."""
        for threads in (self._threads, self._ping_thread):
            threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()

    async def _model(self, name: str) -> ServedModel | None:
        versions = await self._read(self._client.versions, name)
        if not versions:
            return None
        default = versions[0].version
        if len(versions) > 1 and (found := await self._read(self._client.default, name)) is not None:
            default = found.version
        return ServedModel(name, tuple(await asyncio.gather(*(self._version(each, default) for each in versions))))

    async def _version(self, found: ModelVersion, default: str) -> ServedVersion:
        return described(found, default=found.version == default, card=await self._card(found))

    async def _card(self, found: ModelVersion) -> ModelCard:
        key = (found.model, found.version)
        workers = [worker for worker in found.workers if worker.ready]
        mark: Fingerprint = (found.url, tuple(sorted(str(worker.started) for worker in workers)))
        known = self._cards.get(key)
        if known is not None and (known[0] == mark or not workers):
            return known[1]
        card = None
        if workers:
            with contextlib.suppress(EngineError):
                card = await self._read(self._client.card, *key)
        if card is None:
            return {} if known is None else known[1]
        self._cards[key] = (mark, card)
        return card

    async def _read(self, call: Callable[..., Found], *arguments: str) -> Found:
        return await self._in(self._threads, READ_S, call, *arguments)

    async def _in(
        self, threads: ThreadPoolExecutor, timeout_s: float, call: Callable[..., Found], *arguments: str
    ) -> Found:
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.get_running_loop().run_in_executor(threads, call, *arguments)
        except TimeoutError:
            raise EngineError("the engine's Management API does not answer") from None


_log = logging.getLogger(__name__)

PAUSE_S = 0.25

Look = Callable[[], Awaitable[Mapping[str, ServedModel]]]


class Catalog:
    """The gateway's view of what the engine serves."""

    def __init__(self, look: Look, ttl_s: float) -> None:
        self._look = look
        self._ttl_s = ttl_s
        self._snapshot: Snapshot | None = None
        self._began = float("-inf")
        self._finished = float("-inf")
        self._failure: EngineError | None = None
        self._looking: asyncio.Task[None] | None = None

    async def find(self, name: str, version: str | None = None) -> ServedVersion:
        """Return a version of a model, the default one for None; use an old snapshot while the engine does not answer.

        Raises UnknownModel, or NoWorker when the engine does not answer and the model was not known before.
        """
        arrived = _now()
        found = self.peek(name, version)
        if found is None:
            found = (await self._since(arrived)).find(name, version)
        if found is None:
            named = f"version {version} of model {name}" if version else f"model {name}"
            raise UnknownModel(f"no {named[:200]} is registered")
        return found

    def peek(self, name: str, version: str | None) -> ServedVersion | None:
        """Return the version without a wait; None when `find` would wait."""
        snapshot = self._snapshot
        found = None if snapshot is None else snapshot.find(name, version)
        if found is not None and snapshot is not None and _now() - snapshot.taken > self._ttl_s:
            self._start_look()
        return found

    def known(self, name: str, version: str | None) -> ServedVersion | None:
        """Return a version from the last snapshot without starting a survey; None when the snapshot lacks it."""
        return None if self._snapshot is None else self._snapshot.find(name, version)

    def glance(self) -> tuple[bool | None, Snapshot | None]:
        """Return whether the engine answered the last survey (None before the first), and the snapshot, at once.

        An old snapshot starts the next survey, so that a caller who polls sees changes.
        """
        if _now() - self._finished > self._ttl_s:
            self._start_look()
        return None if self._finished == float("-inf") else self._failure is None, self._snapshot

    async def current(self) -> Snapshot:
        """Return a snapshot no older than the time to live. Raises NoWorker when the engine does not answer."""
        return await self._since(_now() - self._ttl_s)

    async def fresh(self) -> Snapshot:
        """Return a snapshot that began after this call. Raises NoWorker when the engine does not answer."""
        return await self._since(_now())

    def forget(self) -> None:
        """Start a new survey, because the engine has just contradicted the snapshot."""
        if self._snapshot is not None:
            self._snapshot = Snapshot(self._snapshot.models, float("-inf"))
            self._start_look()

    async def close(self) -> None:
        """Cancel a survey that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _since(self, moment: float) -> Snapshot:
        """Return the snapshot of the first survey that began no earlier than `moment`."""
        while self._finished < moment:
            # A waiter that is cancelled must not end the survey that others wait for.
            await asyncio.wait({self._start_look()})
        if self._failure is not None or self._snapshot is None:
            raise NoWorker("the engine does not answer") from self._failure
        return self._snapshot

    def _start_look(self) -> asyncio.Task[None]:
        if self._looking is None:
            self._looking = asyncio.create_task(self._refresh())
            self._looking.add_done_callback(log_task_error)
        return self._looking

    async def _refresh(self) -> None:
        try:
            await asyncio.sleep(self._began + PAUSE_S - _now())
            self._began = began = _now()
            self._snapshot = Snapshot(await self._look(), began)
            self._failure = None
        except EngineError as error:
            self._fail(error)
        except (LookupError, TypeError, ValueError) as error:
            # The description lacks keys that TorchServe documents; the log gets the cause, the client does not.
            event(_log, logging.ERROR, "engine_description_unreadable", exc_info=error)
            self._fail(EngineError("the engine describes its models in an unknown way"))
        except Exception:
            # The task ends with this error and logs it; the last snapshot may be out of date.
            self._failure = EngineError("looking at the engine failed")
            raise
        finally:
            self._finished, self._looking = self._began, None

    def _fail(self, failure: EngineError) -> None:
        if self._failure is None:
            event(_log, logging.WARNING, "engine_lost", reason=str(failure))
        self._failure = failure


def _now() -> float:
    return asyncio.get_running_loop().time()
