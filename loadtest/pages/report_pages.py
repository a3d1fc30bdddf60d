"""The pages of one run and of two runs side by side: their charts and tables from the documents of the reports."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from loadtest.pages import Document, described, render
from loadtest.pages.charts import COLOURS, Chart, ChartAxis, ChartLine, bar_chart, line_chart, stacked_bar
from loadtest.server_metrics import stage_times

PERCENTILES = (("p50", "p50"), ("p90", "p90"), ("p95", "p95"), ("p99", "p99"), ("p999", "p99.9"), ("max", "worst"))


def run_page(run: Document) -> str:
    """Return the page of one report."""
    title = f"{run['name']}: {run['rate']['mean']:.1f} {run['unit']}/s" if run["rate"] else f"{run['name']}: no answer"
    percentile_line = ChartLine("latency", _percentile_points(run), area=True)
    charts = {
        "throughput": _throughput(run["series"]),
        "latency": _latency(run["series"]),
        "percentiles": _percentile_chart([percentile_line], run["tail"]),
        "distribution": _distribution(run),
        "servers": [(side, _stages(side)) for side in run["servers"]],
        "usage": _usage(run["usage"]),
    }
    return render(
        "run.html",
        title=title,
        subtitle=described(run),
        run=run,
        charts=charts,
        percentiles=[(key, name.removeprefix("p")) for key, name in PERCENTILES],
        load_rows=list(_load_rows(run)),
        configuration_rows=[(name, _value_text(value)) for name, value in _flat(run["configuration"])],
    )


def comparison_page(
    names: tuple[str, str], runs: tuple[Document, Document], sentences: Sequence[str], differences: Sequence[str]
) -> str:
    """Return the page of two reports. `sentences` are the verdicts, `differences` those between the loads."""
    lettered = list(zip("AB", "ab", runs, strict=True))
    percentile_lines = [
        ChartLine(letter, _percentile_points(run), colour, dashed=letter == "B") for letter, colour, run in lettered
    ]
    charts = {
        "percentiles": _percentile_chart(percentile_lines, max((run["tail"] for run in runs), key=lambda t: t[-1][0])),
        "rounds": _round_chart(runs),
        "servers": [
            (side, f"{side['model']} in {letter}", _stages(side))
            for letter, _, run in lettered
            for side in run["servers"]
        ],
    }
    return render(
        "comparison.html",
        title=f"{runs[0]['name']}: {names[0]} and {names[1]}",
        subtitle="Two runs side by side",
        sentences=sentences,
        tone=_tone(sentences),
        differences=differences,
        runs=runs,
        runs_named=[(letter, name, described(run)) for (letter, _, run), name in zip(lettered, names, strict=True)],
        charts=charts,
        percentiles=PERCENTILES,
        parts=sorted({*runs[0]["usage"], *runs[1]["usage"]}),
    )


def _tone(sentences: Sequence[str]) -> str:
    """Return `good` when some figures are better and none is worse, `bad` for the opposite, else nothing."""
    better, worse = (any(f"B is {word}" in each for each in sentences) for word in ("better", "worse"))
    return "" if better == worse else "good" if better else "bad"


def _throughput(series: Document) -> Chart | None:
    width, bins = series["width_s"], series["bins"]
    lines = [ChartLine("answers a second", [(one["at_s"] + width / 2, one["rate"]) for one in bins], area=True)]
    if any(one["errors"] for one in bins):
        errors = [(one["at_s"] + width / 2, one["errors"] / width) for one in bins]
        lines.append(ChartLine("errors a second", errors, "e"))
    return line_chart("Throughput over time", lines, ChartAxis("seconds"), ChartAxis("answers/s"))


def _latency(series: Document) -> Chart | None:
    lines = [
        ChartLine(
            name, [(one["at_s"] + series["width_s"] / 2, one[name]) for one in series["bins"]], colour, dashed=dashed
        )
        for name, colour, dashed in (("p50", "a", False), ("p99", "b", True))
    ]
    return line_chart("Latency over time", lines, ChartAxis("seconds"), ChartAxis("ms"))


def _percentile_points(run: Document) -> list[tuple[float, float | None]]:
    return [(_nines(percent), value) for percent, value in run["tail"]]


def _nines(percent: float) -> float:
    """Return the position of a percentile on an axis on which all nines are equally wide."""
    return -math.log10(max(1e-9, 1 - percent / 100))


def _percentile_chart(lines: Sequence[ChartLine], longest: Sequence[tuple[float, float]]) -> Chart | None:
    """Draw latency by percentile, with a tick for each nine up to the last point of the longest curve."""
    highest = _nines(longest[-1][0]) if longest else 0.0
    names = ("0", "90", "99", "99.9", "99.99", "99.999", "99.9999")
    ticks = [(float(n), name) for n, name in enumerate(names) if n <= highest + 1e-6]
    return line_chart("Latency by percentile", lines, ChartAxis("percentile", ticks), ChartAxis("ms"))


def _distribution(run: Document) -> Chart | None:
    found = run["latency_ms"]
    marks = [(found[name], name) for name in ("p50", "p95", "p99")] if found else []
    return bar_chart("Latency distribution", run["histogram"], "ms", marks)


def _round_chart(runs: Sequence[Document]) -> Chart | None:
    lines = [
        ChartLine(letter, [(n, one["rate"]) for n, one in enumerate(run["rounds"], 1)], colour, dashed=letter == "B")
        for letter, colour, run in zip("AB", "ab", runs, strict=True)
    ]
    ticks = [(float(number), str(number)) for number in range(1, max(len(run["rounds"]) for run in runs) + 1)]
    across = ChartAxis("round", ticks if len(ticks) <= 20 else None)
    return line_chart("Throughput of each round", lines, across, ChartAxis(f"{runs[0]['unit']}/s"))


def _stages(side: Document) -> Chart | None:
    times = list(stage_times(side["stages"], side.get("engine", "the engine")))
    return stacked_bar("Time by stage", times, "ms")


def _usage(usage: Mapping[str, Sequence[Document]]) -> Chart | None:
    lines = [
        ChartLine(name, [(one["at_s"], one["cores"]) for one in readings], COLOURS[number % len(COLOURS)])
        for number, (name, readings) in enumerate(usage.items())
    ]
    return line_chart("CPU of each part", lines, ChartAxis("seconds"), ChartAxis("cores"))


def _load_rows(run: Document) -> Iterator[tuple[str, str]]:
    """Yield the load of a run and the batch settings of its models."""
    yield from ((name, _value_text(value)) for name, value in run["load"].items() if value not in (None, {}))
    for target in run["targets"]:
        batching = target["batching"] or {}
        settings = ", ".join(f"{name} {value}" for name, value in batching.items() if value is not None)
        yield f"{target['model']} {target['version'] or ''}".strip(), settings or "its settings are not known"


def _flat(values: Document, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _value_text(value: Any) -> str:
    return ", ".join(f"{name}: {each}" for name, each in value.items()) if isinstance(value, dict) else str(value)
