"""Which version answers while another one is declared: the declared one as soon as its workers are ready.

Serve applies a whole declaration at once, so the Front learns of a version minutes before its workers have loaded.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from engines.ray.table import Table


@dataclass(frozen=True)
class Running:
    """The workers of a version that take requests, and whether these are all that it shall have."""

    workers: int
    complete: bool


NONE = Running(0, complete=False)


def answering(declared: Table, before: Mapping[str, str], running: Mapping[str, Running]) -> Table:
    """The declared table, in which a model's default is one that can answer.

    `before` holds each model's default until now, `running` what runs by application. A default that has changed
    counts when its workers are complete; until then the one before answers, or else any version that has workers.
    With none at all the declared one stands, and its requests wait for its workers.
    """
    table = declared
    for model, wanted in declared.defaults.items():
        table = table.with_default(model, _default(declared, model, wanted, before.get(model), running))
    return table


def _default(declared: Table, model: str, wanted: str, before: str | None, running: Mapping[str, Running]) -> str:
    found = {
        entry.registration.version: running.get(entry.registration.application, NONE)
        for entry in declared.versions(model)
    }
    if wanted == before or found.get(wanted, NONE).complete:
        return wanted
    others = [version for version in (before, *found) if version is not None]
    return next((version for version in others if found.get(version, NONE).workers), wanted)
