"""One run as a page."""

from collections.abc import Iterator, Mapping
from typing import Any

from loadtest.html import parts
from loadtest.html.charts import Axis, Line, bars, line_chart
from loadtest.html.page import Tone, card, cards, folded, note, numbers, page, table
from loadtest.html.words import described, ms, tail_ticks, tail_x

Document = Mapping[str, Any]


def run_page(run: Document) -> str:
    """The page of a run's document."""
    title = f"{run['name']}: {run['rate']['mean']:.1f} {run['unit']}/s" if run["rate"] else f"{run['name']}: no answer"
    return page(title, described(run), [*_notes(run), numbers(_numbers(run)), cards(_cards(run))])


def _notes(run: Document) -> Iterator[str]:
    if run["interrupted"]:
        yield note("Partial report", ["The run was broken off; the figures are of what came until then."], "warn")
    if any(target["weights"] == "random" for target in run["targets"]):
        yield note("Random weights", ["The speed is the model's, the answers mean nothing."], "warn")
    if run["doubts"]:
        lines = [*run["doubts"], "The figures may be the load generator's own: take them as a lower bound."]
        yield note("The load generator was at its limit", lines, "warn")
    if unread := run.get("unread"):  # reports of earlier releases do not say
        yield note("The servers' own figures are missing", unread, "warn")
    if run["errors"]:
        failed = sum(run["errors"].values())
        lines = [f"{count} x {kind}" for kind, count in run["errors"].items()]
        yield note(f"{failed} of {run['requests']} requests failed", lines, "bad")
    elif run["warmup"] and run["warmup"]["errors"]:
        yield note("Failures in the warm-up", [f"{n} x {kind}" for kind, n in run["warmup"]["errors"].items()], "bad")


def _numbers(run: Document) -> Iterator[tuple[str, str, Tone]]:
    if run["rate"]:
        spread = f" ± {run['rate']['std']:.1f}" if len(run["rounds"]) > 1 else ""
        yield f"{run['rate']['mean']:.1f}{spread}", f"{run['unit']} a second", ""
    for key, name in (("p50", "median latency"), ("p99", "p99 latency"), ("p999", "p99.9 latency")):
        if run["latency_ms"]:
            yield ms(run["latency_ms"][key]), name, ""
    failed = sum(run["errors"].values())
    yield (f"{failed / run['requests']:.2%}" if failed else "0"), "of requests failed", "bad" if failed else "good"
    if run["episodes"]:
        mean = sum(run["episodes"]) / len(run["episodes"])
        yield f"{mean:.1f}", f"mean return of {len(run['episodes'])} episodes", ""


def _cards(run: Document) -> Iterator[str]:
    yield _throughput(run)
    yield _latency(run)
    yield _tail(run)
    yield _distribution(run)
    yield _rounds(run)
    for side in run["servers"]:
        yield parts.stages(side)
    yield parts.usage(run)
    yield parts.generator(run)
    yield parts.load(run)
    yield parts.machine(run)


def _throughput(run: Document) -> str:
    series = run["series"]
    points = [(one["at_s"] + series["width_s"] / 2, one["rate"]) for one in series["bins"]]
    lines = [Line("answers a second", points, area=True)]
    if any(one["errors"] for one in series["bins"]):
        failed = [(one["at_s"] + series["width_s"] / 2, one["errors"] / series["width_s"]) for one in series["bins"]]
        lines.append(Line("errors a second", failed, "e"))
    chart = line_chart("Throughput over time", lines, Axis("seconds"), Axis("answers/s"))
    return card("Throughput over time", f"Bins of {series['width_s']:g} s, all rounds in a row.", chart)


def _latency(run: Document) -> str:
    series = run["series"]
    lines = [
        Line(name, [(one["at_s"] + series["width_s"] / 2, one[name]) for one in series["bins"]], colour, dashed=dashed)
        for name, colour, dashed in (("p50", "a", False), ("p99", "b", True))
    ]
    since = "from the intended send time" if run["loop"] == "open" else "from sending to the last byte"
    chart = line_chart("Latency over time", lines, Axis("seconds"), Axis("ms"))
    return card("Latency over time", f"Answered requests, {since}.", chart)


def _tail(run: Document) -> str:
    lines = [Line("latency", [(tail_x(percent), value) for percent, value in run["tail"]], area=True)]
    ticks = tail_ticks(run["tail"][-1][0] if run["tail"] else 0.0)
    chart = line_chart("Latency by percentile", lines, Axis("percentile", ticks), Axis("ms"))
    rows = [(name, ms(run["latency_ms"][key])) for key, name in PERCENTILES] if run["latency_ms"] else []
    return card(
        "Latency by percentile",
        "Each step to the right is ten times rarer.",
        chart,
        folded("as a table", table(["percentile", "latency"], rows)),
    )


PERCENTILES = (("p50", "50"), ("p90", "90"), ("p95", "95"), ("p99", "99"), ("p999", "99.9"), ("max", "worst"))


def _distribution(run: Document) -> str:
    found = run["latency_ms"]
    marks = [(found[key], name) for key, name in (("p50", "p50"), ("p95", "p95"), ("p99", "p99"))] if found else []
    chart = bars("Latency distribution", run["histogram"], "ms", marks)
    return card("Latency distribution", "Requests by latency up to p99.9; the last bar holds what is beyond.", chart)


def _rounds(run: Document) -> str:
    rows = []
    for number, one in enumerate(run["rounds"], 1):
        rows.append(
            _row(f"{number}" if one["complete"] else f"{number} (broken off)", one, sum(one["errors"].values()))
        )
        if len(one["models"]) > 1:
            rows += [_row(f"- {name}", {**part, "rate": part["items"] / one["seconds"]}, part["failed"])
                     for name, part in one["models"].items()]  # fmt: skip
    if run["warmup"]:
        rows.insert(0, _row("warm-up", run["warmup"], sum(run["warmup"]["errors"].values())))
    head = ["round", "answers", f"{run['unit']}/s", "p50", "p95", "p99", "p99.9", "worst", "failed"]
    return card("Rounds", "The warm-up is kept apart: no figure above counts it.", table(head, rows), wide=True)


def _row(name: str, one: Document, failed: int) -> list[str]:
    latency = one["latency_ms"] or {}
    figures = [ms(latency.get(key)) for key in ("p50", "p95", "p99", "p999", "max")]
    return [name, str(one["items"]), f"{one['rate']:.1f}", *figures, str(failed)]
