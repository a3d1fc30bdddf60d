"""The model under load, as `GET /models/{model}` describes it: kind, input schema, weights, batch settings."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import aiohttp

from errors import LoadError
from loadtest.load_client import describe_failure

Kind = Literal["vision", "policy", "tensors", "adopted"]
UNITS: Mapping[Kind, str] = {"vision": "imgs", "policy": "states", "tensors": "instances", "adopted": "answers"}


@dataclass(frozen=True)
class Batching:
    """The batch settings of a registered version and its number of ready workers.

    `threads` is the number per worker, None for the worker's own choice; `coalesce` is the largest number of states
    in one request of the gateway, None for the gateway's own setting.
    """

    batch_size: int
    max_batch_delay_ms: int
    workers: int
    threads: int | None = None
    coalesce: int | None = None


@dataclass(frozen=True)
class LoadTarget:
    """A served model. `observation` and `signature` are the entries of these names in its card, None for others."""

    url: str
    model: str
    version: str | None
    kind: Kind
    weights: str | None
    observation: Mapping[str, Any] | None
    batching: Batching | None
    signature: Mapping[str, Any] | None = None

    @property
    def unit(self) -> str:
        """The unit of the throughput."""
        return UNITS[self.kind]


async def look_up(session: aiohttp.ClientSession, url: str, model: str) -> LoadTarget:
    """Request the description of `model` from the gateway.

    Raises LoadError in one line when the gateway does not answer or does not serve the model.
    """
    address = f"{url.rstrip('/')}/models/{model}"
    try:
        async with session.get(address) as response:
            status = response.status
            described = await response.json(content_type=None) if status == 200 else None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise LoadError(f"no gateway at {url}: {describe_failure(error)}; `make up` starts one") from None
    except ValueError:
        raise LoadError(f"{address} answers, but not with JSON: is this the gateway?") from None
    if status == 404:
        raise LoadError(f"{url} serves no model {model!r}; `make upload_model MODEL={model}` uploads it")
    if status == 401:
        raise LoadError(f"{address} answers 401: set MARINA_API_KEY_FILE or MARINA_API_KEY to a key that it knows")
    if status != 200:
        raise LoadError(f"{address} answers {status}, so the load test does not start")
    return parse_target(url, model, described)


def parse_target(url: str, model: str, document: object) -> LoadTarget:
    """Return the default version of a model from the gateway's description.

    Raises LoadError when the description does not say which inputs the model takes.
    """
    served = _default_version(document)
    kind = served.get("kind")
    if kind not in UNITS:
        raise LoadError(f"{url}/models/{model} does not say what the model takes: has it a worker?")
    return LoadTarget(
        url=url.rstrip("/"),
        model=model,
        version=served.get("version"),
        kind=cast("Kind", kind),
        weights=served.get("weights"),
        observation=served.get("observation"),
        batching=_batching(served),
        signature=served.get("signature"),
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
