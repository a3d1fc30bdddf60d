"""Counts each version's answers, times and handler measurements, and exposes them under TorchServe's metric names."""

import socket
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import Metric, generate_latest
from prometheus_client.registry import Collector

from engines.python.messages import Labels, Sample

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
"""Upper bounds of TorchServe's histograms, which its dashboards know."""
STATUS_METRICS = {2: "Requests2XX", 4: "Requests4XX", 5: "Requests5XX"}

Series = tuple[str, Labels]
Report = Mapping[tuple[str, str], Mapping[str, Any]]
"""By model and version: the number of requests `inside`, and the `counts`."""


@dataclass
class Histogram:
    """Values by bucket, the last bucket for those above all bounds, and their sum."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    total: float = 0.0

    def add(self, value: float) -> None:
        """Count one value in its bucket."""
        self.buckets[bisect_left(BUCKETS, value)] += 1
        self.total += value


@dataclass
class Counts:
    """The counts of one version since the Frontend started; times are in seconds, summed over requests."""

    statuses: Counter[int] = field(default_factory=Counter)
    batches: int = 0
    lost: int = 0
    queue_s: float = 0.0
    inference_s: float = 0.0
    gauges: dict[Series, float] = field(default_factory=dict)
    counters: Counter[Series] = field(default_factory=Counter)
    histograms: dict[Series, Histogram] = field(default_factory=dict)

    def add(self, statuses: Sequence[int], queued: Sequence[float], inside_s: float, samples: Sequence[Sample]) -> None:
        """Count one batch: the status and the waiting time of each request, and the time of all with a worker."""
        self.statuses.update(statuses)
        self.batches += 1
        self.queue_s += sum(queued)
        self.inference_s += inside_s * len(statuses)
        for name, kind, labels, value in samples:
            self._measure((name, labels), kind, value)

    def as_values(self) -> dict[str, Any]:
        """Return the counts as plain values, for another process."""
        return {
            "statuses": dict(self.statuses),
            "batches": self.batches,
            "lost": self.lost,
            "queue_s": self.queue_s,
            "inference_s": self.inference_s,
            "gauges": dict(self.gauges),
            "counters": dict(self.counters),
            "histograms": {key: (list(each.buckets), each.total) for key, each in self.histograms.items()},
        }

    def _measure(self, series: Series, kind: str, value: float) -> None:
        if kind == "counter":
            self.counters[series] += value  # type: ignore[assignment]  # a Counter adds floats as well
        elif kind == "gauge":
            self.gauges[series] = value
        else:
            self.histograms.setdefault(series, Histogram()).add(value)


def merge_reports(reports: Iterable[Report]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the reports of several Frontends as one: everything added up, and of a gauge the last value."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for report in reports:
        for key, entry in report.items():
            known = merged.get(key)
            merged[key] = dict(entry) if known is None else _added(known, entry)
    return merged


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    mine, theirs = one["counts"], other["counts"]
    counts = {name: mine[name] + theirs[name] for name in ("batches", "lost", "queue_s", "inference_s")}
    counts |= {name: dict(Counter(mine[name]) + Counter(theirs[name])) for name in ("statuses", "counters")}
    counts["gauges"] = {**mine["gauges"], **theirs["gauges"]}
    counts["histograms"] = dict(mine["histograms"])
    for series, (buckets, total) in theirs["histograms"].items():
        before, sum_before = counts["histograms"].get(series, ([0] * len(buckets), 0.0))
        counts["histograms"][series] = ([a + b for a, b in zip(before, buckets, strict=True)], sum_before + total)
    return {"inside": one["inside"] + other["inside"], "counts": counts}


class FrontendCollector(Collector):
    """A report as Prometheus metrics."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._host = socket.gethostname()
        self._families: dict[str, Metric] = {}

    def collect(self) -> Iterable[Metric]:
        """Return one family a metric name."""
        self._families.clear()
        for (model, version), entry in self._report.items():
            self._add_version({"model_name": model, "model_version": version, "hostname": self._host}, entry)
        if self._report:
            self._add_statuses()
        return self._families.values()

    def _add_version(self, labels: dict[str, str], entry: Mapping[str, Any]) -> None:
        counts = entry["counts"]
        self._add("ts_inference_requests_total", "counter", labels, sum(counts["statuses"].values()))
        self._add("ts_inference_latency_microseconds", "counter", labels, counts["inference_s"] * 1e6)
        self._add("ts_queue_latency_microseconds", "counter", labels, counts["queue_s"] * 1e6)
        self._add("marina_ray_batches_total", "counter", labels, counts["batches"])
        self._add("marina_ray_workers_lost_total", "counter", labels, counts["lost"])
        self._add("marina_ray_requests_inside", "gauge", labels, entry["inside"])
        for kind in ("gauge", "counter"):
            for (name, own), value in counts[f"{kind}s"].items():
                self._add(name, kind, {**dict(own), "Hostname": self._host}, value)
        for (name, own), (buckets, total) in counts["histograms"].items():
            self._add_histogram(name, {**dict(own), "Hostname": self._host}, buckets, total)

    def _add_statuses(self) -> None:
        by_name = dict.fromkeys(STATUS_METRICS.values(), 0)
        for entry in self._report.values():
            for status, number in entry["counts"]["statuses"].items():
                if status // 100 in STATUS_METRICS:
                    by_name[STATUS_METRICS[status // 100]] += number
        for name, number in by_name.items():
            self._add(name, "counter", {"Level": "Host", "Hostname": self._host}, number)

    def _add(self, name: str, kind: str, labels: dict[str, str], value: float) -> None:
        self._family(name.removesuffix("_total"), kind).add_sample(name, labels, value)

    def _add_histogram(self, name: str, labels: dict[str, str], buckets: Sequence[int], total: float) -> None:
        family, seen = self._family(name, "histogram"), list(accumulate(buckets))
        for bound, number in zip((*map(str, BUCKETS), "+Inf"), seen, strict=True):
            family.add_sample(f"{name}_bucket", {**labels, "le": bound}, number)
        family.add_sample(f"{name}_sum", labels, total)
        family.add_sample(f"{name}_count", labels, seen[-1])

    def _family(self, name: str, kind: str) -> Metric:
        return self._families.setdefault(name, Metric(name, "See docs/ray.md.", kind))


def exposition(report: Report) -> bytes:
    """Return the text of a report in Prometheus' format."""
    collector = FrontendCollector(report)
    lines = generate_latest(collector).decode().splitlines(keepends=True)
    counters = {sample.name for family in collector.collect() for sample in family.samples if family.type == "counter"}
    return "".join(_with_own_name(line, counters) for line in lines).encode()


def _with_own_name(line: str, counters: set[str]) -> str:
    """Remove the `_total` that the library adds to a counter's TYPE line; some of TorchServe's names lack it."""
    words = line.split(" ", 3)
    if line.startswith("#") and words[2].endswith("_total") and words[2] not in counters:
        words[2] = words[2].removesuffix("_total")
    return " ".join(words)
