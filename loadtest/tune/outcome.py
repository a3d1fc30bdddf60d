"""What a search leaves behind: the file that the next upload uses, and a page."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from errors import LoadError, StoreError
from files import write_atomic
from loadtest.html.charts import Axis, Dot, scatter
from loadtest.html.page import Tone, card, cards, note, numbers, page, pairs, table
from loadtest.html.words import mib, ms
from loadtest.machine import Machine
from loadtest.tune import search
from loadtest.tune.goal import Goal, Measured
from loadtest.tune.space import Setting
from loadtest.tune.tuner import Found


@dataclass(frozen=True)
class Outcome:
    """A search that came to its end."""

    model: str
    unit: str
    goal: Goal
    load: str
    found: Found
    trials: Mapping[Setting, Measured]
    before: Setting
    spent_s: float
    ended: datetime
    machine: Machine

    @property
    def words(self) -> str:
        """The best setting and what it did, in a line."""
        measured = self.trials[self.found.best]
        return f"{self.found.best}: {measured.rate:.1f} {self.unit}/s, {self.goal.name} {ms(measured.latency_ms)}"


def write_settings(outcome: Outcome, path: Path) -> None:
    """Replace the tuned settings of the model, whole or not at all. Raises LoadError."""
    params = {key: value for key, value in asdict(outcome.found.best).items() if value is not None}
    head = (
        f"# Found by `make tune MODEL={outcome.model}` on {outcome.ended:%Y-%m-%d %H:%M} UTC, for a {outcome.goal}.",
        f"# {outcome.words}",
        f"# {outcome.load}; {outcome.machine.cpu}, {outcome.machine.cores} cores.",
        "# Used by the next upload; `rollout.tuned=false` leaves it aside, and so does deleting it.",
    )
    text = "\n".join(head) + "\n" + yaml.safe_dump({"request_params": params}, sort_keys=False)
    try:
        write_atomic(path, text, 0o644)
    except StoreError as error:
        raise LoadError(f"the tuned settings are not written: {error}") from None


def tune_page(outcome: Outcome) -> str:
    """The search as a page: the Pareto front, what each setting did and costs."""
    best = outcome.trials[outcome.found.best]
    title = f"{outcome.model}: {outcome.found.best}"
    top: list[tuple[str, str, Tone]] = [
        (f"{best.rate:.1f}", f"{outcome.unit} a second", ""),
        (ms(best.latency_ms), f"{outcome.goal.name} latency", "good" if outcome.found.reached else "bad"),
        (f"{outcome.goal.limit_ms:g} ms", "the goal", ""),
        (str(len(outcome.trials)), "settings tried", ""),
        (f"{outcome.spent_s / 60:.1f} min", "for the search", ""),
    ]
    body = [numbers(top)]
    if not outcome.found.reached:
        words = [f"No setting kept a {outcome.goal}.", f"The closest: {outcome.words}."]
        body.insert(0, note("The goal was not reached", words, "bad"))
    subtitle = f"{outcome.load} · {outcome.ended:%Y-%m-%d %H:%M} UTC · ended because {outcome.found.reason}"
    return page(f"Tuned {title}", subtitle, [*body, cards([_picture(outcome), _table(outcome), _machine(outcome)])])


def as_json(outcome: Outcome) -> dict[str, Any]:
    """The search for programs."""
    front = search.front(outcome.trials)
    return {
        "schema_version": 1,
        "ended": outcome.ended.isoformat(timespec="seconds"),
        "model": outcome.model,
        "goal": asdict(outcome.goal),
        "load": outcome.load,
        "spent_s": outcome.spent_s,
        "reached": outcome.found.reached,
        "reason": outcome.found.reason,
        "best": asdict(outcome.found.best),
        "before": asdict(outcome.before),
        "trials": [
            {"setting": asdict(setting), **asdict(measured), "front": setting in front}
            for setting, measured in outcome.trials.items()
        ],
        "machine": asdict(outcome.machine),
    }


def _picture(outcome: Outcome) -> str:
    front = search.front(outcome.trials)
    dots = [
        Dot(
            measured.latency_ms,
            measured.rate,
            f"{setting}: {measured.rate:.1f} {outcome.unit}/s, {ms(measured.latency_ms)}",
            front=setting in front,
            best=setting == outcome.found.best,
        )
        for setting, measured in outcome.trials.items()
    ]
    line = [(outcome.trials[setting].latency_ms, outcome.trials[setting].rate) for setting in front]
    axes = Axis(f"{outcome.goal.name} latency, ms"), Axis(f"{outcome.unit}/s")
    chart = scatter("Rate against latency", dots, line, *axes, goal=outcome.goal.limit_ms)
    caption = "Each dot is a setting. On the line lie those that no other beats in both; shaded is what keeps the goal."
    return card("The Pareto front", caption, chart, wide=True)


def _table(outcome: Outcome) -> str:
    front = search.front(outcome.trials)
    ranked = sorted(outcome.trials, key=lambda setting: outcome.trials[setting].score(outcome.goal), reverse=True)
    rows = [_row(setting, outcome, front) for setting in ranked]
    figures = [f"{outcome.unit}/s", outcome.goal.name, "rounds", "failed", "workers", "memory", "cores"]
    caption = (
        "The best first. Memory is that of all the engine's workers on this machine, whichever model they serve; "
        "cores are those that the whole stack used."
    )
    return card("What each setting does and costs", caption, table(["setting", *figures, ""], rows), wide=True)


def _row(setting: Setting, outcome: Outcome, front: list[Setting]) -> list[str]:
    measured = outcome.trials[setting]
    marks = [
        word
        for word, holds in (
            ("best", setting == outcome.found.best),
            ("front", setting in front),
            ("before", setting == outcome.before),
            ("misses the goal", not measured.keeps(outcome.goal)),
        )
        if holds
    ]
    return [
        str(setting),
        f"{measured.rate:.1f}",
        ms(measured.latency_ms),
        str(len(measured.rates)),
        str(measured.failed),
        str(setting.initial_workers),
        mib(measured.memory) if measured.memory else "-",
        f"{measured.cores:.2f}" if measured.cores is not None else "-",
        ", ".join(marks),
    ]


def _machine(outcome: Outcome) -> str:
    found = outcome.machine
    rows = [("CPU", f"{found.cpu}, {found.cores} cores"), ("memory", mib(found.memory)), ("system", found.system)]
    return card("Machine", "What is best here need not be best elsewhere.", pairs(rows))
