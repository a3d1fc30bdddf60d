"""Several engine hosts: those that answer, those that do not, and where each of them stands."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import engines
from archive import Archive
from delivery.machine import Tools
from delivery.published import assign_version
from delivery.stores import open_store
from delivery.versions import names
from deployments.traffic import LiveVersions
from errors import EngineError, MarinaError
from settings import Settings


@dataclass(frozen=True)
class Fleet:
    """The hosts for one model; one that is away gets what the others have when it comes back."""

    model: str
    present: tuple[Tools, ...]
    away: tuple[Tools, ...]
    live: LiveVersions

    def under(self, settings: Settings) -> "Fleet":
        """The same hosts with other settings."""
        present = tuple(each.under(settings) for each in self.present)
        return Fleet(self.model, present, tuple(each.under(settings) for each in self.away), self.live)

    def standing(self) -> str:
        """Which version each host serves, in words."""
        return ", ".join([*(f"{name_of(each)}: {_serving(each, self.model)}" for each in self.present), *self._away()])

    def _away(self) -> list[str]:
        return [f"{name_of(each)}: away" for each in self.away]


@contextmanager
def open_fleet(settings: Settings, model: str) -> Iterator[Fleet]:
    """All hosts of the settings. Raises EngineError when none of them answers."""
    store = open_store(settings)
    with ExitStack() as opened:
        opened_hosts = [opened.enter_context(engines.connect(settings, node)) for node in settings.engine.hosts]
        hosts = [Tools.of(settings, engine, store, model, engine.node.name) for engine in opened_hosts]
        well = {name_of(each) for each in hosts if each.engine.answers()}
        if not well:
            raise EngineError(f"no engine host answers: {', '.join(map(name_of, hosts))}")
        present = tuple(each for each in hosts if name_of(each) in well)
        yield Fleet(
            model, present, tuple(each for each in hosts if name_of(each) not in well), LiveVersions.of(settings, model)
        )


def new_version(fleet: Fleet, archive: Archive) -> str:
    """The version that an archive gets on all hosts."""
    registered = {version for tools in fleet.present for version in names(tools.engine.versions(fleet.model))}
    first = fleet.present[0]
    return assign_version(archive, registered, first.store, first.settings)


def name_of(tools: Tools) -> str:
    """The name of the host that these tools work on."""
    return tools.engine.node.name


def _serving(tools: Tools, model: str) -> str:
    try:
        found = tools.engine.default(model)
    except MarinaError:
        return "away"
    return "nothing" if found is None else found.version
