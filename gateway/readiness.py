"""Whether the gateway can answer what it promises, and what is missing when it cannot: the one definition for all.

A gateway that was asked to end is not ready, whatever the engine says, so that balancers look elsewhere in time.
"""

from errors import NoWorker
from gateway.served import ServedVersion, Snapshot
from gateway.services import Services
from settings.schema import Gateway


async def missing(services: Services) -> list[str]:
    """What is not ready, in words; empty when everything is."""
    if services.stopping.asked:
        return ["the gateway is about to stop"]
    try:
        snapshot = await services.catalog.fresh()
    except NoWorker:
        return ["the engine does not answer"]
    return [words for name in promised(services.settings.gateway) if (words := _missing(snapshot, name))]


def has_worker(services: Services, found: ServedVersion) -> bool:
    """Whether a version of a model is ready."""
    return found.workers_ready > 0 and not services.stopping.asked


def promised(gateway: Gateway) -> list[str]:
    """The models that short routes or defaults name, each once."""
    names = [gateway.default_vision_model, gateway.default_policy, *(alias.model for alias in gateway.aliases)]
    return list(dict.fromkeys(names))


def _missing(snapshot: Snapshot, name: str) -> str:
    found = snapshot.find(name, None)
    if found is None:
        return f"model {name} is not registered"
    return "" if found.workers_ready else f"model {name} has no worker"
