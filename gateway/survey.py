"""One look at the engine: every model, every version, every card."""

import asyncio
from typing import Any

from gateway.card import Card
from gateway.management import Management
from gateway.served import ServedModel, ServedVersion, described

Fingerprint = tuple[str, tuple[str, ...]]


class Survey:
    """Looks at the engine as a whole. A card is asked for once, and again when the version's archive or workers change.

    Asking costs the worker a turn, so it is not done at every look.
    """

    def __init__(self, management: Management) -> None:
        self._management = management
        self._cards: dict[tuple[str, str], tuple[Fingerprint, Card]] = {}

    async def look(self) -> dict[str, ServedModel]:
        """All models by name. Raises EngineError when the engine does not answer."""
        names = await self._management.model_names()
        models = await asyncio.gather(*(self._model(name) for name in names))
        found = {model.name: model for model in models if model is not None}
        seen = {(version.model, version.version) for model in found.values() for version in model.versions}
        self._cards = {key: card for key, card in self._cards.items() if key in seen}
        return found

    async def _model(self, name: str) -> ServedModel | None:
        entries = await self._management.versions(name)
        if not entries:
            return None
        default = str(entries[0]["modelVersion"])
        if len(entries) > 1:
            default = await self._management.default_version(name) or default
        return ServedModel(name, tuple(await asyncio.gather(*(self._version(entry, default) for entry in entries))))

    async def _version(self, entry: dict[str, Any], default: str) -> ServedVersion:
        card = await self._card(entry)
        return described(entry, default=str(entry["modelVersion"]) == default, card=card)

    async def _card(self, entry: dict[str, Any]) -> Card:
        key = (str(entry["modelName"]), str(entry["modelVersion"]))
        workers = [worker for worker in entry.get("workers") or [] if worker.get("status") == "READY"]
        mark: Fingerprint = (str(entry.get("modelUrl")), tuple(sorted(str(each.get("startTime")) for each in workers)))
        known = self._cards.get(key)
        if known is not None and (known[0] == mark or not workers):
            return known[1]
        card = await self._management.card(*key) if workers else None
        if card is None:
            return {} if known is None else known[1]
        self._cards[key] = (mark, card)
        return card
