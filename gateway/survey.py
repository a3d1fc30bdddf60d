"""One look at the engine: every model, every version, every card."""

import asyncio

from engines.described import Version
from engines.interface import Reader
from gateway.card import Card
from gateway.served import ServedModel, ServedVersion, described

Fingerprint = tuple[str, tuple[str, ...]]


class Survey:
    """Looks at the engine as a whole. A card is asked for once, and again when the version's archive or workers change.

    Asking costs the worker a turn, so it is not done at every look.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._cards: dict[tuple[str, str], tuple[Fingerprint, Card]] = {}

    async def look(self) -> dict[str, ServedModel]:
        """All models by name. Raises EngineError when the engine does not answer."""
        names = await self._reader.model_names()
        models = await asyncio.gather(*(self._model(name) for name in names))
        found = {model.name: model for model in models if model is not None}
        seen = {(version.model, version.version) for model in found.values() for version in model.versions}
        self._cards = {key: card for key, card in self._cards.items() if key in seen}
        return found

    async def _model(self, name: str) -> ServedModel | None:
        versions = await self._reader.versions(name)
        if not versions:
            return None
        default = versions[0].version
        if len(versions) > 1:
            default = await self._reader.default_version(name) or default
        return ServedModel(name, tuple(await asyncio.gather(*(self._version(each, default) for each in versions))))

    async def _version(self, found: Version, default: str) -> ServedVersion:
        return described(found, default=found.version == default, card=await self._card(found))

    async def _card(self, found: Version) -> Card:
        key = (found.model, found.version)
        workers = [worker for worker in found.workers if worker.ready]
        mark: Fingerprint = (found.url, tuple(sorted(str(worker.started) for worker in workers)))
        known = self._cards.get(key)
        if known is not None and (known[0] == mark or not workers):
            return known[1]
        card = await self._reader.card(*key) if workers else None
        if card is None:
            return {} if known is None else known[1]
        self._cards[key] = (mark, card)
        return card
