"""Two reports side by side, with a verdict for each figure that considers the noise between rounds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import LoadError
from loadtest.pages import described
from loadtest.pages.report_pages import comparison_page
from loadtest.report_files import read_report, write_new
from loadtest.round_stats import Significance, judge

FIGURES = (
    ("throughput", "rate", True),
    ("median latency", "p50", False),
    ("p99 latency", "p99", False),
)
"""Name, key in a round, and True where more is better."""


@dataclass(frozen=True)
class ReportComparison:
    """Two reports, the verdict on each figure, and the differences between their loads."""

    names: tuple[str, str]
    runs: tuple[Mapping[str, Any], Mapping[str, Any]]
    verdicts: tuple[tuple[str, Significance, str], ...]  # figure, significance, sentence
    differences: tuple[str, ...]


def compare_files(first: Path, second: Path) -> ReportComparison:
    """Compare two reports. Raises LoadError in one line when a file is no report or has no complete round."""
    runs = read_report(first), read_report(second)
    rounds = [[one for one in run["rounds"] if one["complete"] and one["latency_ms"]] for run in runs]
    for path, found in zip((first, second), rounds, strict=True):
        if not found:
            raise LoadError(f"{path} holds no complete round with an answer, so there is nothing to compare")
    verdicts = []
    for name, key, more_is_better in FIGURES:
        a, b = ([_figure(one, key) for one in each] for each in rounds)
        significance = judge(a, b)
        verdicts.append((name, significance, _sentence(name, significance, more_is_better=more_is_better)))
    return ReportComparison((first.stem, second.stem), runs, tuple(verdicts), tuple(_differences(*runs)))


def comparison_lines(found: ReportComparison) -> Iterator[str]:
    """Yield the comparison as lines for a terminal."""
    for letter, name, run in zip("AB", found.names, found.runs, strict=True):
        yield f"{letter}: {name}: {described(run)}"
    yield from (f"Warning: {difference}" for difference in found.differences)
    yield f"  {'':<18}{'A':>12}{'B':>12}{'B ÷ A':>9}   95 of 100 within"
    for (name, key, _), (_, verdict, _) in zip(FIGURES, found.verdicts, strict=True):
        a, b = (_figure(run, key) for run in found.runs)
        yield f"  {name:<18}{a:>12.2f}{b:>12.2f}{verdict.ratio:>9.3f}   {verdict.low:.3f} to {verdict.high:.3f}"
    yield from (sentence for _, _, sentence in found.verdicts)


def write_page(found: ReportComparison, path: Path) -> Path:
    """Write the comparison as a new page. Raises LoadError when the file exists."""
    try:
        write_new(path, comparison_page(found.names, found.runs, [s for _, _, s in found.verdicts], found.differences))
    except FileExistsError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    return path


def _sentence(name: str, verdict: Significance, *, more_is_better: bool) -> str:
    change = f"{abs(verdict.ratio - 1):.1%}"
    if verdict.kind == "too few":
        return f"{name}: too few rounds to tell; each run needs 4 that are complete"
    if verdict.kind == "open":
        widest = max(abs(verdict.low - 1), abs(verdict.high - 1))
        return (
            f"{name}: no difference that the noise allows to tell "
            f"(chance alone: {verdict.chance:.0%}; a difference up to {widest:.0%} could hide in it)"
        )
    better = (verdict.kind == "higher") == more_is_better
    return (
        f"{name}: B is {'better' if better else 'worse'}, {change} {verdict.kind} "
        f"({verdict.low - 1:+.1%} to {verdict.high - 1:+.1%}; chance alone: {verdict.chance:.1%})"
    )


def _differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Yield other differences between the runs, which may explain a difference of the figures."""
    for key in sorted({*first["load"], *second["load"]} - {"rounds", "warmup"}):
        a, b = first["load"].get(key), second["load"].get(key)
        if a != b:
            yield f"the loads differ in {key}: {_value_text(a)} and {_value_text(b)}"
    models = [[target["model"] for target in run["targets"]] for run in (first, second)]
    if models[0] != models[1]:
        yield f"the models differ: {'+'.join(models[0])} and {'+'.join(models[1])}"
    machines = [(run["machine"] or {}).get("cpu") for run in (first, second)]
    if machines[0] != machines[1]:
        yield f"the machines differ: {machines[0]} and {machines[1]}"
    for letter, run in zip("AB", (first, second), strict=True):
        yield from (f"{letter}: {fault}" for fault in _faults(run))


def _value_text(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {share}" for name, share in value.items()) or "none"
    return "none" if value is None else str(value)


def _faults(run: Mapping[str, Any]) -> Iterator[str]:
    if run["errors"]:
        yield f"{sum(run['errors'].values())} of {run['requests']} requests failed"
    if run["interrupted"]:
        yield "it was interrupted"
    if run["doubts"]:
        yield "the load generator was at its limit"


def _figure(figures: Mapping[str, Any], key: str) -> float:
    """Return a figure of a round, or the mean rate or a percentile of a whole run."""
    if key != "rate":
        return float(figures["latency_ms"][key])
    rate = figures["rate"]
    return float(rate["mean"] if isinstance(rate, Mapping) else rate)
