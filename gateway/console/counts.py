"""What the gateway has counted of each model since it started, taken from its own metrics."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from prometheus_client import Metric
from prometheus_client.samples import Sample

from gateway.metrics import BREAKER_NAMES


@dataclass(slots=True)
class Counts:
    """One model.

    Attributes:
        statuses: requests by the status of their answer.
        latency: answers with status 200 that took at most that many seconds.
        in_flight: requests that are inside now, waiting or in the engine.
        breaker: how its circuit breaker stands.
        live: requests by the version that answered, counted while one is under trial.
        copies: copies of requests that a version under trial has answered.

    """

    statuses: Counter[str] = field(default_factory=Counter)
    latency: Counter[float] = field(default_factory=Counter)
    in_flight: int = 0
    breaker: str = "closed"
    live: Counter[str] = field(default_factory=Counter)
    copies: Counter[str] = field(default_factory=Counter)


def by_model(families: Iterable[Metric]) -> dict[str, Counts]:
    """The counts of each model that has any; requests that name no model are left out."""
    found: defaultdict[str, Counts] = defaultdict(Counts)
    for family in families:
        take = _TAKE.get(family.name)
        if take is not None:
            for sample in family.samples:
                if model := sample.labels.get("model"):
                    take(found[model], sample)
    return dict(found)


def _request(counts: Counts, sample: Sample) -> None:
    status = sample.labels["status"]
    if sample.name.endswith("_count"):
        counts.statuses[status] += int(sample.value)
    elif sample.name.endswith("_bucket") and status == "200":
        counts.latency[float(sample.labels["le"])] += int(sample.value)


def _version(counts: Counts, sample: Sample) -> None:
    if sample.name.endswith("_count"):
        ways = counts.live if sample.labels["way"] == "live" else counts.copies
        ways[sample.labels["version"]] += int(sample.value)


def _admitted(counts: Counts, sample: Sample) -> None:
    counts.in_flight = int(sample.value)


def _breaker(counts: Counts, sample: Sample) -> None:
    counts.breaker = BREAKER_NAMES[int(sample.value)]


_TAKE: Mapping[str, Callable[[Counts, Sample], None]] = {
    "marina_gateway_request_seconds": _request,
    "marina_gateway_version_seconds": _version,
    "marina_gateway_requests_admitted": _admitted,
    "marina_gateway_breaker_state": _breaker,
}
