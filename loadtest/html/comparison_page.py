"""Two runs on one page: verdicts first, then their curves over each other."""

from collections.abc import Mapping, Sequence
from typing import Any

from loadtest.html import parts
from loadtest.html.charts import Axis, Line, line_chart
from loadtest.html.page import Tone, card, cards, note, page, table
from loadtest.html.words import described, mib, ms, tail_ticks, tail_x

Document = Mapping[str, Any]


def comparison_page(
    title: str,
    names: tuple[str, str],
    runs: tuple[Document, Document],
    verdicts: Sequence[tuple[str, str, str]],
    differences: Sequence[str],
) -> str:
    """`verdicts` are (figure, kind, sentence)."""
    body = [note("What the rounds tell", [said for _, _, said in verdicts], _tone(verdicts))]
    if differences:
        body.append(note("What else differs", differences, "warn"))
    for letter, name, run in zip("AB", names, runs, strict=True):
        body.append(note(f"{letter}: {name}", [described(run)], ""))
    boxes = [_figures(runs), _tail(runs), _rounds(runs), *_sides(runs)]
    return page(title, "Two runs side by side", [*body, cards(boxes)])


def _tone(verdicts: Sequence[tuple[str, str, str]]) -> Tone:
    """Green when something became better and nothing worse, red when it is the other way round."""
    said = [sentence for _, _, sentence in verdicts]
    better, worse = (any(f"B is {word}" in each for each in said) for word in ("better", "worse"))
    return "" if better == worse else "good" if better else "bad"


def _figures(runs: tuple[Document, Document]) -> str:
    percentiles = (("p50", "p50"), ("p90", "p90"), ("p99", "p99"), ("p999", "p99.9"), ("max", "worst"))
    rows = [(f"{runs[0]['unit']}/s", *(f"{run['rate']['mean']:.1f} ± {run['rate']['std']:.1f}" for run in runs))]
    rows += [(name, *(ms(run["latency_ms"][key]) for run in runs)) for key, name in percentiles]
    rows.append(("failed", *(str(sum(run["errors"].values())) for run in runs)))
    for part in sorted({*runs[0]["usage"], *runs[1]["usage"]}):
        rows.append((f"{part}: cores, memory", *(_used(run["usage"].get(part)) for run in runs)))
    return card("Figures", "Mean and spread of the rounds; latencies of all requests.", table(["", "A", "B"], rows))


def _used(readings: Sequence[Document] | None) -> str:
    if not readings:
        return "-"
    cores = sum(one["cores"] for one in readings) / len(readings)
    return f"{cores:.2f}, {mib(max(one['memory'] for one in readings))}"


def _tail(runs: tuple[Document, Document]) -> str:
    lines = [
        Line(name, [(tail_x(percent), value) for percent, value in run["tail"]], colour, dashed=name == "B")
        for name, colour, run in zip("AB", "ab", runs, strict=True)
    ]
    ticks = tail_ticks(max(run["tail"][-1][0] for run in runs))
    chart = line_chart("Latency by percentile", lines, Axis("percentile", ticks), Axis("ms"))
    return card("Latency by percentile", "Each step to the right is ten times rarer.", chart)


def _rounds(runs: tuple[Document, Document]) -> str:
    lines = [
        Line(name, [(number, one["rate"]) for number, one in enumerate(run["rounds"], 1)], colour, dashed=name == "B")
        for name, colour, run in zip("AB", "ab", runs, strict=True)
    ]
    ticks = [(float(number), str(number)) for number in range(1, max(len(run["rounds"]) for run in runs) + 1)]
    chart = line_chart("Throughput of each round", lines, Axis("round", ticks if len(ticks) <= 20 else None),
                       Axis(f"{runs[0]['unit']}/s"))  # fmt: skip
    return card("Throughput of each round", "How far rounds of one run lie apart is the noise.", chart, wide=True)


def _sides(runs: tuple[Document, Document]) -> list[str]:
    return [
        parts.stages({**side, "model": f"{side['model']} in {letter}"})
        for letter, run in zip("AB", runs, strict=True)
        for side in run["servers"]
    ]
