"""Registers, scales, switches and removes versions, one change of a model at a time.

register ─▶ fetch, check, registry      scale ─▶ workers ready ─▶ registry      remove ─▶ registry, drain ─▶ workers

Requests reach a version only after its workers are ready, and its workers go only after its last request.
"""

import contextlib
import dataclasses
import logging
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Protocol

from archive import TrustPolicy
from engines.python.messages import (
    ConflictStatusException,
    ErrorResponse,
    InternalServerException,
    InvalidModelVersionException,
    ModelNotFoundException,
    ModelVersionNotFoundException,
)
from engines.python.model_store import ArchiveSource, check_archive
from engines.python.registry import ModelRegistry, RegisteredVersion, Registration

log = logging.getLogger(__name__)

POLL_S = 1.0


@dataclass(frozen=True)
class Replica:
    """A worker that has been started: where it runs, and since when (seconds since 1970)."""

    replica_id: str
    pid: int
    node: str
    started: float
    ready: bool


class Placement(Protocol):
    """Runs the workers of each version and the Frontends. Its methods block; one thread at a time calls them."""

    def start(self) -> ModelRegistry:
        """Start the Frontends where they do not run yet, and return what is registered."""
        ...

    def publish(self, registry: ModelRegistry) -> None:
        """Give the Frontends this registry; return when they follow it and have drained the removed versions."""
        ...

    def run(self, entry: RegisteredVersion, timeout_s: float) -> None:
        """Run a version with its workers; return when all are ready.

        Raises InternalServerException with the reason when they are not ready within `timeout_s`.
        """
        ...

    def stop(self, entry: RegisteredVersion) -> None:
        """End a version's workers, each after its last request; an unknown version is ignored."""
        ...

    def replicas(self, entry: RegisteredVersion) -> list[Replica]:
        """Return the workers of a version that have been started."""
        ...

    def describe(self, entry: RegisteredVersion, timeout_s: float) -> Any:
        """Return the handler's description of its model. Raises InternalServerException when no worker answers."""
        ...

    def report(self) -> dict[str, Any]:
        """Return the Frontends' registry, as `table`, and their counts, as `lines`.

        Raises InternalServerException when no Frontend answers.
        """
        ...


@dataclass(frozen=True)
class RegistrationRequest:
    """The parameters of a registration.

    `model` overrides the manifest's name, and the archive must have this `sha256` where it is given.
    """

    url: str
    model: str | None
    handler: str | None
    batch_size: int
    max_batch_delay: int
    response_timeout_s: int
    workers: int
    sha256: str | None = None


class ModelManager:
    """The only writer of the registry. Its methods block."""

    def __init__(
        self, placement: Placement, source: ArchiveSource, trust: TrustPolicy, folder: Path, start_timeout_s: float
    ) -> None:
        self._placement = placement
        self._source = source
        self._trust = trust
        self._folder = folder
        self._start_timeout_s = start_timeout_s
        self._publishing = threading.Lock()
        self._changing: dict[str, threading.Lock] = {}
        self.registry = ModelRegistry()

    def start(self) -> None:
        """Start the engine, or recover the models that it runs already."""
        with self._publishing:
            self.registry = self._placement.start()

    def register(self, request: RegistrationRequest) -> Registration:
        """Fetch and check an archive, start its workers, and register it.

        Raises ArchiveNotFound, InvalidModelException, ConflictStatusException, and InternalServerException when its
        workers do not start. The version is then not registered.
        """
        registration = self._fetch(request)
        model, version = registration.model, registration.version
        with self._change(model):
            if self.registry.find(model, version) is not None:
                raise ConflictStatusException(f"Model version {version} is already registered for model {model}")
            entry = RegisteredVersion(registration)
            if request.workers:
                entry = RegisteredVersion(registration, request.workers, request.workers)
                self._run(entry, None)
            self._publish(lambda registry: registry.put(entry))
        log.info("%s %s is registered", model, version)
        return registration

    def scale(self, model: str, version: str | None, least: int, most: int) -> None:
        """Set a version's number of workers, and return when they are ready.

        Raises InternalServerException when they do not start. The version then has the workers that it had.
        """
        with self._change(model):
            before = self.find(model, version)
            after = dataclasses.replace(before, min_workers=least, max_workers=max(least, most))
            if after == before and sum(each.ready for each in self.replicas(before)) >= least:
                return
            if most == 0:
                self._publish(lambda registry: registry.put(after))
                self._placement.stop(after)
                return
            self._run(after, before)
            self._publish(lambda registry: registry.put(after))

    def set_default(self, model: str, version: str) -> None:
        """Make a version the default one; it gets every request that arrives after the return."""
        with self._change(model):
            self.find(model, version)
            if self.registry.defaults[model] != version:
                self._publish(lambda registry: registry.with_default(model, version))

    def remove(self, model: str, version: str | None) -> None:
        """Remove a version after it has answered its requests.

        Raises InvalidModelVersionException for the default version while the model has others.
        """
        with self._change(model):
            entry = self.find(model, version)
            is_default = self.registry.defaults[model] == entry.registration.version
            if is_default and len(self.registry.versions(model)) > 1:
                raise InvalidModelVersionException(f"Cannot remove default version for model {model}")
            self._publish(lambda registry: registry.without(entry))
            self._placement.stop(entry)

    def find(self, model: str, version: str | None) -> RegisteredVersion:
        """Return a version, the default one for None.

        Raises ModelNotFoundException or ModelVersionNotFoundException.
        """
        if not self.registry.versions(model):
            raise ModelNotFoundException(model)
        entry = self.registry.find(model, version)
        if entry is None:
            raise ModelVersionNotFoundException(model, str(version))
        return entry

    def replicas(self, entry: RegisteredVersion) -> list[Replica]:
        """Return a version's workers, those that are starting included."""
        return self._placement.replicas(entry) if entry.max_workers else []

    def metadata(self, entry: RegisteredVersion, timeout_s: float) -> Any:
        """Return the handler's description of its model. Raises InternalServerException when no worker answers."""
        return self._placement.describe(entry, timeout_s) if entry.max_workers else None

    def report(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Return the requests inside and the counts, by model and version."""
        return dict(self._placement.report()["lines"])

    def _fetch(self, request: RegistrationRequest) -> Registration:
        self._folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            file = Path(folder) / Path(request.url.partition("?")[0]).name
            sha256 = self._source.fetch(request.url, file, request.sha256)
            name = check_archive(file, self._trust)
        return Registration(
            model=request.model or name.model,
            version=name.version,
            url=request.url,
            sha256=sha256,
            batch_size=request.batch_size,
            max_batch_delay=request.max_batch_delay,
            response_timeout_s=request.response_timeout_s,
            handler=request.handler,
        )

    def _run(self, entry: RegisteredVersion, before: RegisteredVersion | None) -> None:
        model, version = entry.key
        try:
            self._placement.run(entry, self._start_timeout_s)
        except InternalServerException as reason:
            log.warning("workers of %s %s do not start: %s", model, version, reason)
            with contextlib.suppress(InternalServerException):
                self._go_back(entry, before)
            message = f"Failed to start workers for model {model} version: {version}: {reason}"
            raise InternalServerException(message) from None

    def _go_back(self, entry: RegisteredVersion, before: RegisteredVersion | None) -> None:
        if before is not None and before.max_workers:
            self._placement.run(before, self._start_timeout_s)
        else:
            self._placement.stop(entry)

    def _change(self, model: str) -> threading.Lock:
        return self._changing.setdefault(model, threading.Lock())

    def _publish(self, change: Callable[[ModelRegistry], ModelRegistry]) -> None:
        with self._publishing:
            registry = change(self.registry)
            self._placement.publish(registry)
            self.registry = registry


class ReadOnlyManager(ModelManager):
    """The manager where models are declared to the placement: it describes what is registered and changes nothing."""

    def start(self) -> None:
        """Follow the Frontends' registry from now on, in a thread."""
        threading.Thread(target=self._follow, name="declared", daemon=True).start()

    def register(self, request: object) -> NoReturn:
        """Raise InvalidModelVersionException."""
        raise _is_declared()

    def scale(self, model: str, version: str | None, least: int, most: int) -> NoReturn:
        """Raise InvalidModelVersionException."""
        raise _is_declared()

    def set_default(self, model: str, version: str) -> NoReturn:
        """Raise InvalidModelVersionException."""
        raise _is_declared()

    def remove(self, model: str, version: str | None) -> NoReturn:
        """Raise InvalidModelVersionException."""
        raise _is_declared()

    def report(self) -> Mapping[tuple[str, str], Mapping[str, Any]]:
        """Return the requests inside and the counts; nothing before the first declaration."""
        return super().report() if self.registry.entries else {}

    def _follow(self) -> None:
        while True:
            try:
                self.registry = ModelRegistry.from_json(self._placement.report()["table"])
            except ErrorResponse as error:
                # The placement may not run yet, or no longer.
                log.debug("no Frontend reports a declaration: %s", error)
            time.sleep(POLL_S)


def _is_declared() -> InvalidModelVersionException:
    reason = "models are declared to Serve here (engine.declared): change the declaration and apply it"
    return InvalidModelVersionException(reason)
