"""An engine in this process that fetches from a folder and unpacks as TorchServe does: rollouts without a server."""

import shutil
import uuid
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from archive.reader import open_archive
from engines.engine_profile import (
    ArchiveCopy,
    EngineEndpoint,
    ModelVersion,
    PredictionInput,
    PredictionResponse,
    WorkerStatus,
)
from engines.torchserve.engine_client import EngineClient
from engines.torchserve.unpacked import one_registration, unreadable
from errors import EngineError
from settings.schema import EngineHostSettings, RegistrationSettings

PREDICTIONS = b'{"predictions": [1]}'


@dataclass
class HostInMemory(EngineClient):
    """One host. `before_fetch` is called with the archive's place in the store, as an attacker would be.

    `ran` holds the handlers that workers were started with; `unpacks_in` is another folder than the node names.
    """

    node: EngineHostSettings
    store: Path
    before_fetch: Callable[[Path], None] = lambda _: None
    registered: dict[str, dict[str, ModelVersion]] = field(default_factory=dict)
    folders: dict[tuple[str, str], Path] = field(default_factory=dict)
    defaults: dict[str, str] = field(default_factory=dict)
    ran: list[bytes] = field(default_factory=list)
    unpacks_in: Path | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None: ...

    def close(self) -> None: ...

    def answers(self) -> bool:
        return True

    def models(self) -> list[str]:
        return sorted(self.registered)

    def versions(self, model: str) -> list[ModelVersion]:
        return list(self.registered.get(model, {}).values())

    def default(self, model: str) -> ModelVersion | None:
        return self.find(model, self.defaults.get(model, ""))

    def find(self, model: str, version: str) -> ModelVersion | None:
        return self.registered.get(model, {}).get(version)

    def hides_copies(self) -> str | None:
        return unreadable(self.node.unpacked, f"`unpacked` of node {self.node.name}")

    def register(
        self, model: str, url: str, params: RegistrationSettings, timeout_s: float, sha256: str | None = None
    ) -> ArchiveCopy:
        self.before_fetch(self.store / url)
        if self.node.unpacked is None:
            self._unpack(model, url, params, self.store / "unpacked")
            return ArchiveCopy(hidden=self.hides_copies())
        with one_registration(Path(self.node.unpacked)) as found:
            self._unpack(model, url, params, self.unpacks_in or Path(self.node.unpacked))
            return found()

    def _unpack(self, model: str, url: str, params: RegistrationSettings, place: Path) -> None:
        archive, folder = open_archive(self.store / url), place / uuid.uuid4().hex
        if archive.version in self.registered.get(model, {}):
            raise EngineError(f"{model} {archive.version} is registered already")
        with zipfile.ZipFile(archive.path) as source:
            source.extractall(folder)
        timeout = params.response_timeout or 120
        batches = (params.batch_size, params.max_batch_delay)
        made = ModelVersion(model, archive.version, url, *batches, 0, 0, (), 0, 1, response_timeout=timeout)
        self.registered.setdefault(model, {})[made.version] = made
        self.folders[model, made.version] = folder
        self.defaults.setdefault(model, made.version)

    def scale(self, model: str, version: str, workers: int, timeout_s: float) -> None:
        self.ran.append((self.folders[model, version] / "toy_handler.py").read_bytes())
        running = tuple(WorkerStatus(number, ready=True, started=None) for number in range(workers))
        found = self.registered[model][version]
        self.registered[model][version] = replace(found, min_workers=workers, max_workers=workers, workers=running)

    def warm(self, version: ModelVersion, request: PredictionInput, times: int, timeout_s: float) -> bool:
        return True

    def predict(
        self,
        model: str,
        version: str,
        request: PredictionInput,
        *,
        timeout_s: float | None = None,
    ) -> PredictionResponse:
        return PredictionResponse(200, PREDICTIONS, 0)

    def set_default(self, model: str, version: str) -> None:
        self.defaults[model] = version

    def drain(self, version: ModelVersion, request: PredictionInput, timeout_s: float) -> bool:
        return True

    def unregister(self, model: str, version: str) -> None:
        shutil.rmtree(self.folders.pop((model, version), self.store / "nothing"), ignore_errors=True)
        self.registered.get(model, {}).pop(version, None)
        if not self.registered.get(model):
            self.registered.pop(model, None)
            self.defaults.pop(model, None)

    def forget(self) -> None:
        """What a restart of TorchServe does."""
        for model, versions in list(self.registered.items()):
            for version in list(versions):
                self.unregister(model, version)

    def endpoint(self, model: str, version: str | None = None) -> EngineEndpoint:
        raise NotImplementedError
