"""The engine hosts that a model is rolled out to. A single engine is a list of one host.

open_hosts ──▶ EngineHosts ── present: HostContext, HostContext, ...   answer, and take part
                           └─ away: HostContext, ...                   get the others' version when they return
"""

import dataclasses
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import engines
from archive import Archive
from delivery.journal import Journal
from delivery.publish import next_free_version
from delivery.stores import Store, open_store
from delivery.stores.folder import FolderStore
from deployments.serving import DeployedVersion, ServingRecord
from deployments.traffic import LiveVersions, TrafficFile
from engines.torchserve.engine_client import EngineClient
from errors import EngineError, MarinaError
from settings import Settings


@dataclass(frozen=True)
class HostContext:
    """One engine host for one model, with everything that the steps of a rollout use."""

    settings: Settings
    engine: EngineClient
    store: Store
    record: ServingRecord
    journal: Journal
    traffic: TrafficFile

    @property
    def name(self) -> str:
        """The host's name in the settings."""
        return self.engine.node.name


@dataclass(frozen=True)
class EngineHosts:
    """The hosts for one model: at least one is present."""

    model: str
    settings: Settings
    present: tuple[HostContext, ...]
    away: tuple[HostContext, ...] = ()

    @property
    def several(self) -> bool:
        """True when the settings name their engine hosts, so that messages and files name them, too."""
        return bool(self.settings.engine.nodes)

    @property
    def exact(self) -> bool:
        """True when a host must serve exactly the recorded version: it may have missed rollouts, or restarted alone."""
        return serves_exactly(self.settings)

    @property
    def store(self) -> Store:
        """The store that every host fetches from."""
        return self.present[0].store

    @property
    def record(self) -> ServingRecord:
        """The record of what should serve on every host."""
        return self.present[0].record

    @cached_property
    def _live(self) -> LiveVersions:
        return LiveVersions.of(self.settings, self.model)

    def with_settings(self, settings: Settings) -> "EngineHosts":
        """Return the same hosts with other settings."""
        present, away = (
            tuple(dataclasses.replace(host, settings=settings) for host in hosts) for hosts in (self.present, self.away)
        )
        return EngineHosts(self.model, settings, present, away)

    def only(self, host: HostContext) -> "EngineHosts":
        """Return a host by its name."""
        return EngineHosts(self.model, self.settings, (host,))

    def allow(self, versions: Collection[str]) -> None:
        """Let the gateway send requests to hosts that serve one of these versions. A single host gets all requests."""
        if self.several:
            self._live.put(versions)

    def allowed(self) -> list[str]:
        """Return the versions that may answer; without such a list, the one that is recorded as serving."""
        if live := self._live.get():
            return live
        history = self.record.get(self.model)
        return [history.serving.version] if history else []

    def new_version(self, archive: Archive) -> str:
        """Return the version that the archive gets on every host.

        Its file name is free in each model store that is on this machine, because others may keep archives there, and
        a registration removes a file of that name.
        """
        taken = {found.version for host in self.present for found in host.engine.versions(self.model)}
        for host in self.present:
            if host.engine.node.model_store is not None:
                taken |= FolderStore(Path(host.engine.node.model_store)).versions(self.model)
        return next_free_version(archive, taken, self.store, self.settings)

    def summary(self) -> str:
        """Return which version each host serves: `a: 1.1, b: away`. It is empty for a single host."""
        if not self.several:
            return ""
        present = [f"{host.name}: {self._serving_on(host)}" for host in self.present]
        return ", ".join([*present, *(f"{host.name}: away" for host in self.away)])

    def _serving_on(self, host: HostContext) -> str:
        try:
            found = host.engine.default(self.model)
        except MarinaError:
            return "away"
        return "nothing" if found is None else found.version


@contextmanager
def open_hosts(settings: Settings, model: str) -> Iterator[EngineHosts]:
    """Connect to the engine hosts. Raises EngineError when none of several hosts answers.

    A single host is not checked in advance: the first call that needs it raises the reason why it does not answer.
    """
    store, record, traffic = open_store(settings), ServingRecord.of(settings), TrafficFile.of(settings)
    several = bool(settings.engine.nodes)
    with ExitStack() as opened:
        hosts = []
        for node in settings.engine.hosts:
            journal = Journal.of(settings, model, node.name if several else "")
            engine = opened.enter_context(engines.connect(settings, node))
            hosts.append(HostContext(settings, engine, store, record, journal, traffic))
        answering = {host.name for host in hosts if not several or host.engine.answers()}
        if not answering:
            raise EngineError(f"no engine host answers: {', '.join(host.name for host in hosts)}")
        present = tuple(host for host in hosts if host.name in answering)
        yield EngineHosts(model, settings, present, tuple(host for host in hosts if host.name not in answering))


def serves_exactly(settings: Settings) -> bool:
    """Return True for hosts that must serve exactly what is recorded.

    One of several may have missed rollouts; one that others start loads its own archives when it starts.
    """
    return bool(settings.engine.nodes) or settings.engine.external


def is_behind(engine: EngineClient, model: str, serving: DeployedVersion, *, exact: bool) -> bool:
    """Return True if the host does not serve the recorded version.

    Unless it must serve `exact`ly that one, an engine counts as behind only when it has lost the model, or has no
    worker for it because a restore was killed: another version there belongs to a rollout under way.
    """
    found = engine.default(model)
    if found is None or not exact:
        return found is None or (found.version == serving.version and found.min_workers == 0)
    same_version = (found.version, found.archive) == (serving.version, serving.archive)
    same_batches = (found.batch_size, found.max_batch_delay) == (serving.batch_size, serving.max_batch_delay)
    alone = found.min_workers > 0 and len(engine.versions(model)) == 1
    return not (same_version and same_batches and alone)
