"""The statistics of inferences under the names of Triton's metrics, for its dashboards."""

from collections.abc import Iterator, Mapping

Version = tuple[str, str]
"""Model and version."""

REASONS = ("REJECTED", "CANCELED", "BACKEND", "OTHER")

# The end of Triton's name: its description, and the sample of the statistics that it is.
_COUNTS: Mapping[str, tuple[str, str]] = {
    "request_success": ("Inference requests that were answered", "seconds_countsuccess"),
    "count": ("Instances in these requests", "instances_total"),
    "exec_count": ("Requests to the engine; several share a batch there", "seconds_countsuccess"),
}
_DURATIONS: Mapping[str, str] = {
    "request": "success",
    "queue": "queue",
    "compute_input": "compute_input",
    "compute_infer": "compute_infer",
    "compute_output": "compute_output",
}


def triton_text(values: Mapping[Version, Mapping[str, float]], pending: Mapping[Version, int]) -> bytes:
    """Return Prometheus' text of these statistics, durations in microseconds.

    It is written here because Triton's counters lack the suffix that the library gives to all of them.
    """
    return "".join(_lines(values, pending)).encode()


def _lines(values: Mapping[Version, Mapping[str, float]], pending: Mapping[Version, int]) -> Iterator[str]:
    for name, (text, key) in _COUNTS.items():
        yield from _head(name, text, "counter")
        yield from (_sample(name, version, found.get(key, 0)) for version, found in values.items())
    yield from _head("request_failure", "Inference requests that were not answered, by reason", "counter")
    for version, found in values.items():
        for reason in REASONS:
            yield _sample("request_failure", version, found.get(f"failures_total{reason}", 0), reason)
    for name, stage in _DURATIONS.items():
        full = f"{name}_duration_us"
        yield from _head(full, f"Cumulative duration in microseconds: {name.replace('_', ' ')}", "counter")
        for version, found in values.items():
            yield _sample(full, version, round(found.get(f"seconds_sum{stage}", 0) * 1e6))
    yield from _head("pending_request_count", "Requests that wait in the engine", "gauge")
    yield from (_sample("pending_request_count", version, count) for version, count in pending.items())


def _head(name: str, text: str, kind: str) -> Iterator[str]:
    yield f"# HELP nv_inference_{name} {text}\n"
    yield f"# TYPE nv_inference_{name} {kind}\n"


def _sample(name: str, version: Version, value: float, reason: str | None = None) -> str:
    labels = dict(zip(("model", "version"), version, strict=True)) | ({} if reason is None else {"reason": reason})
    shown = ",".join(f'{label}="{_escaped(each)}"' for label, each in labels.items())
    return f"nv_inference_{name}{{{shown}}} {value:.0f}\n"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
