"""What the Management API does: registers, scales, switches and removes versions, one change of a model at a time.

register ─▶ fetched, checked, in the table      scale ─▶ workers ready ─▶ table      remove ─▶ table, drained ─▶ workers

A request sees a version only after its workers are ready, and its workers go only after its last request.
"""

import contextlib
import dataclasses
import logging
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from archive import TrustPolicy
from engines.ray.checked import check
from engines.ray.cluster import Cluster, Replica
from engines.ray.fetch import Source
from engines.ray.refusals import Conflict, Failed, NotAllowed, UnknownModel, UnknownVersion
from engines.ray.table import Entry, Registration, Table

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """What a registration asks for; `model` overrides the manifest's name, `sha256` is what the archive must have."""

    url: str
    model: str | None
    handler: str | None
    batch_size: int
    max_batch_delay: int
    response_timeout_s: int
    workers: int
    sha256: str | None = None


class Manager:
    """The one place that changes what is registered; its methods block."""

    def __init__(
        self, cluster: Cluster, source: Source, trust: TrustPolicy, folder: Path, start_timeout_s: float
    ) -> None:
        self._cluster = cluster
        self._source = source
        self._trust = trust
        self._folder = folder
        self._start_timeout_s = start_timeout_s
        self._publishing = threading.Lock()
        self._changing: dict[str, threading.Lock] = {}
        self.table = Table()

    def start(self) -> None:
        """Start Serve, or find what it runs already."""
        with self._publishing:
            self.table = self._cluster.start()

    def register(self, wanted: Wanted) -> Registration:
        """Fetch and check an archive, and enter it with its workers.

        Raises NoSuchArchive, InvalidArchive, Conflict, and Failed when its workers do not start: it is then not
        registered.
        """
        registration = self._fetched(wanted)
        with self._change(registration.model):
            if self.table.find(registration.model, registration.version) is not None:
                raise Conflict(
                    f"Model version {registration.version} is already registered for model {registration.model}"
                )
            entry = Entry(registration)
            if wanted.workers:
                entry = Entry(registration, wanted.workers, wanted.workers)
                self._run(entry, None)
            self._publish(lambda table: table.put(entry))
        log.info("%s %s is registered", registration.model, registration.version)
        return registration

    def scale(self, model: str, version: str | None, least: int, most: int) -> None:
        """Give a version as many workers, and return when they are ready.

        Raises Failed when they do not start; it then has those that it had.
        """
        with self._change(model):
            before = self.found(model, version)
            after = dataclasses.replace(before, min_workers=least, max_workers=max(least, most))
            if after == before and len(self.ready(before)) >= least:
                return
            if most == 0:
                self._publish(lambda table: table.put(after))
                self._cluster.stop(after)
                return
            self._run(after, before)
            self._publish(lambda table: table.put(after))

    def set_default(self, model: str, version: str) -> None:
        """Have this version answer when none is named; every request after the return goes to it."""
        with self._change(model):
            self.found(model, version)
            if self.table.defaults[model] != version:
                self._publish(lambda table: table.with_default(model, version))

    def remove(self, model: str, version: str | None) -> None:
        """Take a version away when it has answered what it was asked.

        Raises NotAllowed for the default version while others stand.
        """
        with self._change(model):
            entry = self.found(model, version)
            is_default = self.table.defaults[model] == entry.registration.version
            if is_default and len(self.table.versions(model)) > 1:
                raise NotAllowed(f"Cannot remove default version for model {model}")
            self._publish(lambda table: table.without(entry))
            self._cluster.stop(entry)

    def found(self, model: str, version: str | None) -> Entry:
        """A version, the default one for None; raises UnknownModel or UnknownVersion."""
        if not self.table.versions(model):
            raise UnknownModel(model)
        entry = self.table.find(model, version)
        if entry is None:
            raise UnknownVersion(model, str(version))
        return entry

    def workers(self, entry: Entry) -> list[Replica]:
        """A version's workers, those that still start included."""
        return self._cluster.replicas(entry) if entry.max_workers else []

    def ready(self, entry: Entry) -> list[Replica]:
        """Those that take requests."""
        return [each for each in self.workers(entry) if each.ready]

    def metadata(self, entry: Entry, timeout_s: float) -> Any:
        """What the handler tells about its model. Raises Failed when no worker answers."""
        if not entry.max_workers:
            return None
        try:
            return self._cluster.describe(entry, timeout_s)
        except (RayError, RayServeException, TimeoutError) as error:
            raise Failed(f"no worker described the model: {type(error).__name__}") from None

    def report(self) -> dict[Any, Any]:
        """What each version has inside and has counted, by model and version."""
        return dict(self._cluster.report()["lines"])

    def _fetched(self, wanted: Wanted) -> Registration:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder) / Path(wanted.url.partition("?")[0]).name
            sha256 = self._source.fetch(wanted.url, file, wanted.sha256)
            named = check(file, self._trust)
        return Registration(
            model=wanted.model or named.model,
            version=named.version,
            url=wanted.url,
            sha256=sha256,
            batch_size=wanted.batch_size,
            max_batch_delay=wanted.max_batch_delay,
            response_timeout_s=wanted.response_timeout_s,
            handler=wanted.handler,
        )

    def _run(self, entry: Entry, before: Entry | None) -> None:
        name = entry.registration
        try:
            self._cluster.run(entry, self._start_timeout_s)
        except Failed as reason:
            log.warning("workers of %s %s do not start: %s", name.model, name.version, reason)
            with contextlib.suppress(Failed):
                self._go_back(entry, before)
            raise Failed(f"Failed to start workers for model {name.model} version: {name.version}: {reason}") from None

    def _go_back(self, entry: Entry, before: Entry | None) -> None:
        if before is not None and before.max_workers:
            self._cluster.run(before, self._start_timeout_s)
        else:
            self._cluster.stop(entry)

    def _change(self, model: str) -> threading.Lock:
        return self._changing.setdefault(model, threading.Lock())

    def _publish(self, change: Callable[[Table], Table]) -> None:
        with self._publishing:
            table = change(self.table)
            self._cluster.publish(table)
            self.table = table
