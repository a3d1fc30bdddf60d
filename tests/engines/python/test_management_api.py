"""The manager and its API without Ray, called by the engine's client; a placement in this process runs the workers."""

import json
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn

import engines
from archive import TrustPolicy
from engines.python.management_api import ManagementApi
from engines.python.manager import ModelManager, ReadOnlyManager, Replica
from engines.python.messages import InternalServerException
from engines.python.model_store import ArchiveSource
from engines.python.registry import ModelRegistry, RegisteredVersion
from engines.python.tokens import KeyFile, TokenSigner
from engines.torchserve.engine_client import EngineClient
from errors import EngineError
from settings import load
from settings.schema import RegistrationSettings
from tests.polling import wait_for
from tests.ports import free_port

PARAMS = RegistrationSettings(batch_size=4, max_batch_delay=5, initial_workers=1)


class PlacementLost(Exception):
    """The placement cannot be reached."""


@dataclass
class PlacementInMemory:
    """Runs as many workers as it is told, or none when `broken` or `lost`."""

    published: ModelRegistry = field(default_factory=ModelRegistry)
    running: dict[tuple[str, str], int] = field(default_factory=dict)
    broken: bool = False
    lost: bool = False

    def start(self) -> ModelRegistry:
        return self.published

    def publish(self, registry: ModelRegistry) -> None:
        if self.lost:
            raise PlacementLost
        self.published = registry

    def run(self, entry: RegisteredVersion, timeout_s: float) -> None:
        if self.broken:
            raise InternalServerException("the handler broke")
        self.running[entry.key] = entry.min_workers

    def stop(self, entry: RegisteredVersion) -> None:
        self.running.pop(entry.key, None)

    def replicas(self, entry: RegisteredVersion) -> list[Replica]:
        count = self.running.get(entry.key, 0)
        return [Replica(f"r{number}", 100 + number, "node", 1_700_000_000.0, ready=True) for number in range(count)]

    def describe(self, entry: RegisteredVersion, timeout_s: float) -> Any:
        return {"model_name": entry.registration.model}

    def report(self) -> dict[str, Any]:
        return {"table": self.published.as_json(), "lines": {}}


@pytest.fixture
def placement() -> PlacementInMemory:
    return PlacementInMemory()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    for version in ("1.0", "1.1"):
        manifest = {"model": {"modelName": "plain", "modelVersion": version, "handler": "plain.py"}}
        with zipfile.ZipFile(tmp_path / "store" / f"plain-{version}.mar", "w") as made:
            made.writestr("MAR-INF/MANIFEST.json", json.dumps(manifest))
    return tmp_path / "store"


@contextmanager
def served(manager: ModelManager, folder: Path) -> Iterator[EngineClient]:
    signer, port = TokenSigner(b"secret"), free_port()
    keys = KeyFile(folder / "key_file.json", signer, 3600)
    keys.renew(("management", "inference"), time.time())
    api = ManagementApi(manager, signer, keys, 100, 60, (PlacementLost,))
    server = uvicorn.Server(uvicorn.Config(api.application(), port=port, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: server.started)
        overrides = (f"engine.management_port={port}", f"engine.key_file={folder / 'key_file.json'}")
        with engines.connect(load(["engine=ray", *overrides])) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()


def manager_of(kind: type[ModelManager], placement: PlacementInMemory, store: Path) -> ModelManager:
    source = ArchiveSource("(?!)", str(store), 1_000_000)
    return kind(placement, source, TrustPolicy(1_000_000), store.parent / "fetched", 5)


@pytest.fixture
def client(placement: PlacementInMemory, store: Path, tmp_path: Path) -> Iterator[EngineClient]:
    manager = manager_of(ModelManager, placement, store)
    manager.start()
    with served(manager, tmp_path) as made:
        yield made


def register(client: EngineClient, version: str = "1.0", workers: int = 1) -> None:
    client.register("plain", f"plain-{version}.mar", PARAMS, 5)
    if workers:
        client.scale("plain", version, workers, 5)


def test_registered_version_is_described_with_its_workers(client: EngineClient) -> None:
    register(client, workers=2)
    found = client.default("plain")
    assert found is not None
    assert (found.version, found.archive, found.pids) == ("1.0", "plain-1.0.mar", frozenset({100, 101}))
    assert (found.batch_size, found.max_batch_delay, found.min_workers, found.free) == (4, 5, 2, 100)
    assert found.started == "2023-11-14T22:13:20.000Z"
    assert client.models() == ["plain"]
    assert client.card("plain", "1.0") == {"model_name": "plain"}


def test_version_is_switched_and_the_previous_one_removed(client: EngineClient, placement: PlacementInMemory) -> None:
    register(client)
    register(client, "1.1")
    with pytest.raises(EngineError, match="Cannot remove default version for model plain"):
        client.unregister("plain", "1.0")
    client.set_default("plain", "1.1")
    assert placement.published.defaults == {"plain": "1.1"}
    client.unregister("plain", "1.0")
    assert placement.running == {("plain", "1.1"): 1}
    assert [each.version for each in client.versions("plain")] == ["1.1"]
    client.unregister("plain", "9.9")


def test_version_registered_twice_is_a_conflict(client: EngineClient) -> None:
    register(client)
    with pytest.raises(EngineError, match=r"409: Model version 1\.0 is already registered for model plain"):
        register(client)


def test_workers_that_do_not_start_leave_the_version_as_it_was(
    client: EngineClient, placement: PlacementInMemory
) -> None:
    register(client)
    placement.broken = True
    with pytest.raises(
        EngineError, match=r"500: Failed to start workers for model plain version: 1\.0: the handler broke"
    ):
        client.scale("plain", "1.0", 3, 5)
    found = client.find("plain", "1.0")
    assert found is not None
    assert found.min_workers == 1


def test_archive_with_another_sha256_is_refused(client: EngineClient) -> None:
    with pytest.raises(EngineError, match=r"400: Archive plain-1\.0\.mar is not the one that was checked"):
        client.register("plain", "plain-1.0.mar", PARAMS, 5, sha256="0" * 64)
    with pytest.raises(EngineError, match=r"404: Given URL http://elsewhere/x\.mar does not match any allowed URL"):
        client.register("plain", "http://elsewhere/x.mar", PARAMS, 5)


def test_placement_that_is_lost_is_unavailable_for_a_moment(client: EngineClient, placement: PlacementInMemory) -> None:
    placement.lost = True
    with pytest.raises(EngineError, match="503: the placement did not answer: PlacementLost"):
        register(client)
    placement.lost = False
    register(client)


@pytest.mark.parametrize(("query", "status"), [({"min_worker": "x"}, 400), ({"min_worker": 2, "max_worker": 1}, 400)])
def test_scaling_with_bad_parameters_is_refused(client: EngineClient, query: dict[str, Any], status: int) -> None:
    register(client, workers=0)
    headers = {"Authorization": f"Bearer {client.keys.token('management')}"}
    url = f"{client.node.management_url}/models/plain/1.0"
    assert requests.put(url, params=query, headers=headers, timeout=10).status_code == status
    assert requests.put(url, timeout=10).json()["type"] == "InvalidKeyException"


def test_declared_models_are_described_and_not_changed(
    placement: PlacementInMemory, store: Path, tmp_path: Path
) -> None:
    with served(manager_of(ModelManager, placement, store), tmp_path) as client:
        register(client)
    declared = manager_of(ReadOnlyManager, placement, store)
    declared.start()
    with served(declared, tmp_path) as client:
        wait_for(lambda: client.models() == ["plain"])
        with pytest.raises(EngineError, match="403: models are declared to Serve here"):
            client.set_default("plain", "1.0")
