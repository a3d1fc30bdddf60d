"""What is under load, as `GET /models/{model}` tells: kind, input schema, weights, batch settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp

from errors import LoadError
from loadtest.client import explain


@dataclass(frozen=True)
class Batching:
    """What decides how requests are put together: settings of a registered version, and its ready workers."""

    batch_size: int
    max_batch_delay_ms: int
    workers: int
    threads: int | None = None  # of a worker; None: what the worker chooses
    coalesce: int | None = None  # most states in one request of the gateway; None: what its settings say


@dataclass(frozen=True)
class Target:
    """A served model. `observation` is its card's entry of that name, None for pictures."""

    url: str
    model: str
    version: str | None
    kind: Literal["vision", "policy"]
    weights: str | None
    observation: Mapping[str, Any] | None
    batching: Batching | None

    @property
    def unit(self) -> str:
        """What is counted: pictures or states."""
        return "imgs" if self.kind == "vision" else "states"


async def look_up(session: aiohttp.ClientSession, url: str, model: str) -> Target:
    """Ask the gateway what `model` is. Raises LoadError in one line when there is none, or no gateway."""
    address = f"{url.rstrip('/')}/models/{model}"
    try:
        async with session.get(address) as answer:
            status = answer.status
            described = await answer.json(content_type=None) if status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise LoadError(f"no gateway at {url}: {explain(error)}; `make up` starts one") from None
    except ValueError:
        raise LoadError(f"{address} answers, but not with JSON: is this the gateway?") from None
    if status == 404:
        raise LoadError(f"{url} serves no model {model!r}; `make upload_model MODEL={model}` brings it there")
    if status == 401:
        raise LoadError(f"{address} answers 401: set MARINA_API_KEY_FILE or MARINA_API_KEY to a key that it knows")
    if status != 200:
        raise LoadError(f"{address} answers {status}, so no load is put on it")
    return describe(url, model, described)


def describe(url: str, model: str, document: object) -> Target:
    """Read the gateway's description of the version that answers when none is named.

    Raises LoadError when it is none, or does not tell what the model takes.
    """
    served = _default_version(document)
    kind = served.get("kind")
    if kind not in ("vision", "policy"):
        raise LoadError(
            f"{url}/models/{model} does not tell whether the model takes pictures or states: has it a worker?"
        )
    return Target(
        url=url.rstrip("/"),
        model=model,
        version=served.get("version"),
        kind="vision" if kind == "vision" else "policy",
        weights=served.get("weights"),
        observation=served.get("observation"),
        batching=_batching(served),
    )


def _default_version(document: object) -> Mapping[str, Any]:
    versions = document.get("versions") if isinstance(document, Mapping) else None
    entries = [entry for entry in versions if isinstance(entry, Mapping)] if isinstance(versions, list) else []
    return next((entry for entry in entries if entry.get("default")), entries[0] if entries else {})


def _batching(served: Mapping[str, Any]) -> Batching | None:
    batch, workers = served.get("batch"), served.get("workers")
    if not isinstance(batch, Mapping) or not isinstance(workers, Mapping) or not workers.get("ready"):
        return None
    try:
        numbers = int(batch["batch_size"]), int(batch["max_batch_delay"]), int(workers["ready"])
        return Batching(*numbers, batch.get("threads"), batch.get("coalesce"))
    except (LookupError, TypeError, ValueError):
        return None
