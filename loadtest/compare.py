"""Two runs side by side, with a verdict that knows the noise between rounds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import LoadError
from loadtest.files import read, write_new
from loadtest.html.comparison_page import comparison_page
from loadtest.html.words import described
from loadtest.verdict import Verdict, judge

FIGURES = (
    ("throughput", "rate", True),
    ("median latency", "p50", False),
    ("p99 latency", "p99", False),
)
"""Name, key in a round, and whether more is better."""


@dataclass(frozen=True)
class Compared:
    """Both documents, a verdict for each figure, and in what their loads differ."""

    names: tuple[str, str]
    runs: tuple[Mapping[str, Any], Mapping[str, Any]]
    verdicts: tuple[tuple[str, Verdict, str], ...]  # figure, verdict, the same in words
    differences: tuple[str, ...]


def of_files(first: Path, second: Path) -> Compared:
    """Raises LoadError in one line when a file is no report, or holds no round that was measured to its end."""
    runs = read(first), read(second)
    rounds = [[one for one in run["rounds"] if one["complete"] and one["latency_ms"]] for run in runs]
    for path, found in zip((first, second), rounds, strict=True):
        if not found:
            raise LoadError(f"{path} holds no complete round with an answer, so there is nothing to compare")
    verdicts = []
    for name, key, more_is_better in FIGURES:
        a, b = ([_figure(one, key) for one in each] for each in rounds)
        verdict = judge(a, b)
        verdicts.append((name, verdict, words(name, verdict, more_is_better=more_is_better)))
    return Compared((first.stem, second.stem), runs, tuple(verdicts), tuple(differences(*runs)))


def lines(found: Compared) -> Iterator[str]:
    """The comparison for a terminal."""
    for letter, name, run in zip("AB", found.names, found.runs, strict=True):
        yield f"{letter}: {name}: {described(run)}"
    yield from (f"Warning: {difference}" for difference in found.differences)
    yield f"  {'':<18}{'A':>12}{'B':>12}{'B ÷ A':>9}   95 of 100 within"
    for (name, key, _), (_, verdict, _) in zip(FIGURES, found.verdicts, strict=True):
        a, b = (_whole(run, key) for run in found.runs)
        yield f"  {name:<18}{a:>12.2f}{b:>12.2f}{verdict.ratio:>9.3f}   {verdict.low:.3f} to {verdict.high:.3f}"
    yield from (said for _, _, said in found.verdicts)


def words(name: str, verdict: Verdict, *, more_is_better: bool) -> str:
    """A verdict as a sentence."""
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


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """What else differs than the figures: then a difference of figures may come from there."""
    for key in sorted({*first["load"], *second["load"]} - {"rounds", "warmup"}):
        a, b = first["load"].get(key), second["load"].get(key)
        if a != b:
            yield f"the loads differ in {key}: {_said(a)} and {_said(b)}"
    models = [[target["model"] for target in run["targets"]] for run in (first, second)]
    if models[0] != models[1]:
        yield f"the models differ: {'+'.join(models[0])} and {'+'.join(models[1])}"
    machines = [(run["machine"] or {}).get("cpu") for run in (first, second)]
    if machines[0] != machines[1]:
        yield f"the machines differ: {machines[0]} and {machines[1]}"
    for letter, run in zip("AB", (first, second), strict=True):
        yield from (f"{letter}: {blemish}" for blemish in _blemishes(run))


def _said(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {share}" for name, share in value.items()) or "none"
    return "none" if value is None else str(value)


def _blemishes(run: Mapping[str, Any]) -> Iterator[str]:
    if run["errors"]:
        yield f"{sum(run['errors'].values())} of {run['requests']} requests failed"
    if run["interrupted"]:
        yield "it was interrupted"
    if run["doubts"]:
        yield "the load generator was at its limit"


def write_page(found: Compared, path: Path) -> Path:
    """The comparison as a page; it replaces nothing. Raises LoadError."""
    title = f"{found.runs[0]['name']}: {found.names[0]} and {found.names[1]}"
    kinds = [(name, verdict.kind, said) for name, verdict, said in found.verdicts]
    text = comparison_page(title, found.names, found.runs, kinds, found.differences)
    try:
        write_new(path, text)
    except FileExistsError as error:
        raise LoadError(f"{path}: {error.strerror}") from None
    return path


def _figure(one: Mapping[str, Any], key: str) -> float:
    return float(one["rate"] if key == "rate" else one["latency_ms"][key])


def _whole(run: Mapping[str, Any], key: str) -> float:
    return float(run["rate"]["mean"] if key == "rate" else run["latency_ms"][key])
