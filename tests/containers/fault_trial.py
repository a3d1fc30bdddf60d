"""One fault under load: what clients see of it, and what must hold for every one.

Nothing that is registered is lost. No answer is wrong. A request fails only while the part is away: with a refusal that
names when to come again, without a connection where the part is the way in, or because it was inside the part.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.containers import fault_table
from tests.containers.checked_load import CheckedAnswer, checked_load, kinds, within
from tests.containers.load import CLIENTS
from tests.containers.project import Project
from tests.containers.summary import Summary
from tests.containers.waiting import LONGEST_S, wait_until_well

HEADING = "faults"
AFTERWARDS = 100  # right answers that must follow without a failure


@dataclass(frozen=True)
class Cost:
    """What a fault may cost while the part is away.

    `refusals`: predictions may be refused, or wait for the part until their deadline. `connections`: clients may find
    no connection. `inside`: this many requests may fail because they were inside the part when it went away.
    """

    refusals: bool = False
    connections: bool = False
    inside: int = 0


NOTHING = Cost()
OF_ENGINE = Cost(refusals=True, inside=CLIENTS)
OF_GATEWAY = Cost(inside=CLIENTS)
OF_WAY_IN = Cost(connections=True, inside=CLIENTS)
OF_ALL = Cost(refusals=True, connections=True, inside=CLIENTS)


@dataclass(frozen=True)
class Fault:
    """A fault, which ends by itself, and what it may cost."""

    name: str
    happen: Callable[[Project], None]
    cost: Cost = NOTHING


def serving(project: Project) -> dict[str, str]:
    """Return the version of each model that serves; TorchServe gets an older one again when a rollback needs it."""
    found = project.get("/models").json()["models"]
    return {each["name"]: next(str(one["version"]) for one in each["versions"] if one["default"]) for each in found}


def endure(project: Project, fault: Fault, summary: Summary, seconds: float = LONGEST_S) -> None:
    """Let a fault happen under load, note its row, and assert what must hold; all must be well within `seconds`."""
    with checked_load(project) as load:
        load.wait_for_right(AFTERWARDS)
        before = serving(project)
        began = time.monotonic()
        fault.happen(project)
        ended = time.monotonic()
        wait_until_well(project, seconds=seconds)
        well = time.monotonic()
        load.wait_for_right(AFTERWARDS)
    made = fault_table.row(fault.name, load.answers, ended, well - ended)
    fault_table.record(made)
    summary.add(HEADING, fault_table.HEAD, made.cells())
    after = serving(project)
    assert after == before, f"{before} before, {after} after"
    _judge(fault.cost, load.answers, began, well)


def _judge(cost: Cost, answers: list[CheckedAnswer], began: float, well: float) -> None:
    assert kinds(within(answers, lambda each: each.kind.startswith("wrong answer"))) == {}
    assert kinds(within(answers, lambda each: each.ended < began or each.sent > well)) == {}
    assert cost.refusals or kinds(within(answers, lambda each: each.told)) == {}
    unconnected = within(answers, lambda each: each.unconnected)
    assert cost.connections or kinds(unconnected) == {}
    others = within(
        answers, lambda each: not each.told and not each.unconnected and not (cost.refusals and each.waited)
    )
    assert len(others) <= cost.inside, kinds(others)
