"""Whether the gateway can answer what it promises, and what is missing when it cannot."""

from errors import NoWorker
from gateway.catalog import Catalog
from gateway.served import Snapshot
from settings.schema import Gateway


async def missing(catalog: Catalog, gateway: Gateway) -> list[str]:
    """What is not ready, in words; empty when everything is."""
    try:
        snapshot = await catalog.fresh()
    except NoWorker:
        return ["the engine does not answer"]
    return [words for name in promised(gateway) if (words := _missing(snapshot, name))]


def promised(gateway: Gateway) -> list[str]:
    """The models that short routes or defaults name, each once."""
    names = [gateway.default_vision_model, gateway.default_policy, *(alias.model for alias in gateway.aliases)]
    return list(dict.fromkeys(names))


def _missing(snapshot: Snapshot, name: str) -> str:
    found = snapshot.find(name, None)
    if found is None:
        return f"model {name} is not registered"
    return "" if found.workers_ready else f"model {name} has no worker"
