"""The result of a search: the tuned settings for the next upload, a page, and JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from errors import LoadError, StoreError
from files import write_atomic
from loadtest.pages import ms, render
from loadtest.pages.charts import ChartAxis, ScatterDot, scatter
from loadtest.resources import HostInfo
from loadtest.tune.goal import EvaluationResult, LatencyGoal
from loadtest.tune.search import SearchEnd, pareto_front
from loadtest.tune.space import Candidate


@dataclass(frozen=True)
class SearchResult:
    """A search that has ended. `before` is what served when it began, `load` describes the load."""

    model: str
    unit: str
    goal: LatencyGoal
    load: str
    end: SearchEnd
    results: Mapping[Candidate, EvaluationResult]
    before: Candidate
    spent_s: float
    ended: datetime
    machine: HostInfo

    @property
    def summary(self) -> str:
        """The best candidate and its figures, in one line."""
        return self.describe(self.end.best)

    def describe(self, candidate: Candidate) -> str:
        """Return a candidate and its figures, in one line."""
        result = self.results[candidate]
        return f"{candidate}: {result.rate:.1f} {self.unit}/s, {self.goal.name} {ms(result.latency_ms)}"


def write_settings(search: SearchResult, path: Path) -> None:
    """Replace the tuned settings of the model, atomically. Raises LoadError."""
    head = (
        f"# Found by `make tune MODEL={search.model}` on {search.ended:%Y-%m-%d %H:%M} UTC, for a {search.goal}.",
        f"# {search.summary}",
        f"# {search.load}; {search.machine.cpu}, {search.machine.cores} cores.",
        "# Used by the next upload; `rollout.tuned=false` ignores it, and so does deleting it.",
    )
    text = "\n".join(head) + "\n" + yaml.safe_dump({"request_params": search.end.best.chosen()}, sort_keys=False)
    try:
        write_atomic(path, text, 0o644)
    except StoreError as error:
        raise LoadError(f"the tuned settings are not written: {error}") from None


def search_document(search: SearchResult) -> dict[str, Any]:
    """Return the search as JSON values."""
    front = pareto_front(search.results)
    return {
        "schema_version": 1,
        "ended": search.ended.isoformat(timespec="seconds"),
        "model": search.model,
        "goal": asdict(search.goal),
        "load": search.load,
        "spent_s": search.spent_s,
        "reached": search.end.reached,
        "reason": search.end.reason,
        "best": asdict(search.end.best),
        "before": asdict(search.before),
        "trials": [
            {"setting": asdict(candidate), **asdict(result), "front": candidate in front}
            for candidate, result in search.results.items()
        ],
        "machine": asdict(search.machine),
    }


def search_page(search: SearchResult) -> str:
    """Return the search as a page: the Pareto front, and the figures and costs of each candidate."""
    ranked = sorted(search.results, key=lambda each: search.results[each].score(search.goal), reverse=True)
    rows = [(candidate, search.results[candidate], _marks(candidate, search)) for candidate in ranked]
    return render("search.html", search=search, best=search.results[search.end.best], chart=_chart(search), rows=rows)


def _chart(search: SearchResult) -> Any:
    front = pareto_front(search.results)
    dots = [
        ScatterDot(
            result.latency_ms,
            result.rate,
            f"{candidate}: {result.rate:.1f} {search.unit}/s, {ms(result.latency_ms)}",
            front=candidate in front,
            best=candidate == search.end.best,
        )
        for candidate, result in search.results.items()
    ]
    axes = ChartAxis(f"{search.goal.name} latency, ms"), ChartAxis(f"{search.unit}/s")
    return scatter("Rate against latency", dots, *axes, goal=search.goal.limit_ms)


def _marks(candidate: Candidate, search: SearchResult) -> str:
    marks = {
        "best": candidate == search.end.best,
        "front": candidate in pareto_front(search.results),
        "before": candidate == search.before,
        "misses the goal": not search.results[candidate].meets(search.goal),
    }
    return ", ".join(name for name, holds in marks.items() if holds)
