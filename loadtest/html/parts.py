"""The cards about what stands around a run: servers, processes, generator, configuration, machine."""

from collections.abc import Iterator, Mapping
from typing import Any

from loadtest.html.charts import COLOURS, Axis, Line, line_chart, stack
from loadtest.html.page import card, folded, pairs, table
from loadtest.html.words import mib, ms

Document = Mapping[str, Any]
UNNAMED = "the engine"  # in reports that do not say which one it was


def stages(side: Document) -> str:
    """Where a request's time went, and how full the batches were."""
    engine = side.get("engine", UNNAMED)
    pieces = list(spent(side["stages"], engine))
    batches, events = side["batches"], {name: count for name, count in side["events"].items() if count}
    rows = [
        ("requests in a batch", _number(batches["requests_per_batch"])),
        ("batches filled to", f"{batches['fill']:.0%}" if batches["fill"] is not None else "-"),
        ("states in one engine request", _number(batches["coalesced"])),
        *((name, str(count)) for name, count in events.items()),
    ]
    return card(
        f"Where the time of {side['model']} goes",
        f"Means, from the counters of gateway and {engine} before and after. The queue holds the wait for a batch to "
        "fill; every request of a batch waits for the whole batch.",
        stack("Where the time goes", pieces, "ms"),
        pairs((name, value) for name, value in rows if value != "-"),
        wide=True,
    )


def spent(found: Document, engine: str) -> Iterator[tuple[str, float]]:
    """The stages of a request in their order; what none of them counted is 'on the way between them'."""
    # Observations that travel together are one request to the engine: what they shared is not each one's sum.
    whole = found["gateway"] or sum(filter(None, (found["queue"], found["inference"])))
    named = [
        ("waits in the gateway", found["gateway_queue"]),
        (f"{engine}'s queue", found["queue"]),
        ("decode", found["decode"]),
        ("forward", found["forward"]),
        ("word the answer", found["post"]),
    ]
    counted = 0.0
    for name, value in named:
        if value is not None and value >= 0.005:
            counted += value
            yield name, value
    if whole > counted:
        yield "on the way between them", whole - counted


def usage(run: Document) -> str:
    """CPU and memory of each process of the stack."""
    found = run["usage"]
    if not found:
        return ""
    lines = [
        Line(name, [(one["at_s"], one["cores"]) for one in readings], COLOURS[number % 6])
        for number, (name, readings) in enumerate(found.items())
    ]
    rows = []
    for name, readings in found.items():
        cores = [one["cores"] for one in readings]
        memory = max(one["memory"] for one in readings)
        rows.append((name, f"{sum(cores) / len(cores):.2f}", f"{max(cores):.2f}", mib(memory)))
    return card(
        "CPU and memory of each part",
        "Cores in use, by processes of this machine's stack; memory is what is resident, at its highest.",
        line_chart("CPU of each part", lines, Axis("seconds"), Axis("cores")),
        table(["part", "cores, mean", "cores, most", "memory"], rows),
    )


def generator(run: Document) -> str:
    """Whether the generator itself was the limit."""
    found = [one["generator"] for one in run["rounds"] if one["generator"]]
    if not found:
        return ""
    rows = [
        ("share of its core, highest round", f"{max(one['cpu_share'] for one in found):.0%}"),
        ("event loop late by, p99 of the worst round", ms(max(one["loop_lag_ms"] for one in found))),
    ]
    if run["loop"] == "open":
        rows.append(("requests left late by, p99", ms(max(one["send_lag_ms"] for one in found))))
    verdict = "It was not the bottleneck." if not run["doubts"] else "It may have been the bottleneck."
    return card("The load generator", verdict, pairs(rows))


def load(run: Document) -> str:
    """What was served and what was sent."""
    rows = [(name, _said(value)) for name, value in run["load"].items() if value not in (None, {})]
    for target in run["targets"]:
        batching = target["batching"] or {}
        settings = ", ".join(f"{name} {value}" for name, value in batching.items() if value is not None)
        rows.append((f"{target['model']} {target['version'] or ''}".strip(), settings or "its settings are not known"))
    around = [(name, _said(value)) for name, value in _flat(run["configuration"])]
    more = folded("settings of gateway and engine", pairs(around)) if around else ""
    return card("Load and configuration", "Two runs can be compared when these agree.", pairs(rows), more)


def machine(run: Document) -> str:
    """What it was measured on."""
    found = run["machine"]
    if not found:
        return ""
    rows = [
        ("CPU", f"{found['cpu']}, {found['cores']} cores"),
        ("memory", f"{found['memory'] / 2**30:.1f} GiB"),
        ("system", found["system"]),
        ("load average before", f"{found['load']:.2f}"),
        ("load generator", f"Python {found['python']}, aiohttp {found['aiohttp']}"),
    ]
    return card("Machine", "Figures of two machines do not compare.", pairs(rows))


def _flat(values: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _said(value: Any) -> str:
    return ", ".join(f"{name}: {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
