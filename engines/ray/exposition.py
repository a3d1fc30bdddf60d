"""The Front's counts as Prometheus text, under the names that TorchServe's frontend gives them."""

import socket
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engines.ray.counts import BUCKETS

Labels = tuple[tuple[str, str], ...]
FAMILIES = {2: "Requests2XX", 4: "Requests4XX", 5: "Requests5XX"}


def exposition(report: Mapping[tuple[str, str], Mapping[str, Any]]) -> str:
    """The text for what the Front reports, by model and version."""
    host = socket.gethostname()
    samples: dict[str, list[str]] = {}
    kinds: dict[str, str] = {}
    for name, kind, labels, value in _samples(report, host):
        family = _family(name, kind)
        kinds.setdefault(family, kind)
        samples.setdefault(family, []).append(f"{name}{_braces(labels)} {value:.10g}")
    blocks = ("\n".join((f"# TYPE {family} {kinds[family]}", *lines)) for family, lines in samples.items())
    return "".join(f"{block}\n" for block in blocks)


def _family(name: str, kind: str) -> str:
    if kind != "histogram":
        return name
    return name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")


def _samples(
    report: Mapping[tuple[str, str], Mapping[str, Any]], host: str
) -> Iterator[tuple[str, str, Labels, float]]:
    for (model, version), line in report.items():
        counts = line["counts"]
        labels = (("model_name", model), ("model_version", version), ("hostname", host))
        yield "ts_inference_requests_total", "counter", labels, sum(counts["statuses"].values())
        yield "ts_inference_latency_microseconds", "counter", labels, counts["inference_s"] * 1e6
        yield "ts_queue_latency_microseconds", "counter", labels, counts["queue_s"] * 1e6
        yield "marina_ray_batches_total", "counter", labels, counts["batches"]
        yield "marina_ray_workers_lost_total", "counter", labels, counts["lost"]
        yield "marina_ray_requests_inside", "gauge", labels, line["inside"]
        yield from _measured(counts, host)
    yield from _by_status(report.values(), host)


def _by_status(lines: Iterable[Mapping[str, Any]], host: str) -> Iterator[tuple[str, str, Labels, float]]:
    together = dict.fromkeys(FAMILIES.values(), 0)
    for line in lines:
        for status, number in line["counts"]["statuses"].items():
            if status // 100 in FAMILIES:
                together[FAMILIES[status // 100]] += number
    for name, number in together.items():
        yield name, "counter", (("Level", "Host"), ("Hostname", host)), number


def _measured(counts: Mapping[str, Any], host: str) -> Iterator[tuple[str, str, Labels, float]]:
    for kind in ("gauges", "counters"):
        for (name, labels), value in counts[kind].items():
            yield name, kind[:-1], (*labels, ("Hostname", host)), value
    for (name, labels), (buckets, total) in counts["histograms"].items():
        named, seen = (*labels, ("Hostname", host)), 0
        for bound, number in zip((*BUCKETS, "+Inf"), buckets, strict=True):
            seen += number
            yield f"{name}_bucket", "histogram", (*named, ("le", str(bound))), seen
        yield f"{name}_sum", "histogram", named, total
        yield f"{name}_count", "histogram", named, seen


def _braces(labels: Labels) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
