"""One look at everything that an engine host serves: models, versions and their cards."""

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from engines.engine_profile import ModelVersion
from engines.torchserve.engine_client import PING_S, EngineClient
from errors import EngineError
from gateway.model_card import ModelCard
from gateway.served_models import ServedModel, ServedVersion, described
from gateway.upstream.daemon_threads import DaemonThreads

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
        self._threads = DaemonThreads(THREADS, f"survey-{client.node.name}")
        self._ping_thread = DaemonThreads(1, f"ping-{client.node.name}")

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
            threads.close()
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

    async def _in(self, threads: DaemonThreads, timeout_s: float, call: Callable[..., Found], *arguments: str) -> Found:
        try:
            async with asyncio.timeout(timeout_s):
                return await threads.run(call, *arguments)
        except TimeoutError:
            raise EngineError("the engine's Management API does not answer") from None
