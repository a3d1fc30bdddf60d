"""The doctor judges what is registered by the bytes that run, whatever its name is."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from archive import TrustPolicy, open_archive, open_trusted
from archive.signing import generate_keys
from delivery.doctor.deployment import Deployment, ExaminedHost
from delivery.doctor.rollouts_and_store import folders, not_published, not_trusted
from delivery.publish import publish
from delivery.sockets import Sockets
from delivery.stores.folder import FolderStore
from engines.engine_profile import ModelVersion, WorkerStatus
from settings import Settings, load
from tests.archive.made import CONTENTS, archive_at


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load([f"paths.state={tmp_path / 'state'}", "store=local", f"store.folder={tmp_path / 'store'}"])


@pytest.fixture
def store(tmp_path: Path, settings: Settings) -> FolderStore:
    """A store into which version 1.0 was published."""
    made = FolderStore(tmp_path / "store")
    publish(open_trusted(archive_at(tmp_path / "toy.mar"), TrustPolicy.of(settings)), "1.0", made, settings)
    return made


@pytest.fixture
def copy(tmp_path: Path, settings: Settings, store: FolderStore) -> Path:
    """The published archive as an engine has unpacked it, its modules compiled by Python."""
    path = store.path("toy-1.0.mar")
    assert path is not None
    open_trusted(path, TrustPolicy.of(settings)).unpack(tmp_path / "copy")
    (tmp_path / "copy" / "__pycache__").mkdir()
    (tmp_path / "copy" / "__pycache__" / "toy_handler.cpython-313.pyc").write_bytes(b"compiled")
    return tmp_path / "copy"


def registered(model: str = "toy", version: str = "1.0", pid: int = 1, url: str = "toy-1.0.mar") -> ModelVersion:
    return ModelVersion(model, version, url, 1, 1, 1, 1, (WorkerStatus(pid, ready=True, started=None),), 0, 1)


def test_what_was_published_is_no_stranger(settings: Settings, store: FolderStore, copy: Path) -> None:
    for copies in ([], [copy], [copy, copy]):
        assert not_published(registered(), copies, store, settings) is None


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("toy_handler.py", b"class Other: ...\n", "toy_handler.py has other content"),
        ("sitecustomize.py", b"", "sitecustomize.py is not in the archive"),
        ("model.onnx", None, "model.onnx is missing"),
    ],
)
def test_doctor_workers_with_other_bytes_are_found(
    settings: Settings, store: FolderStore, copy: Path, name: str, content: bytes | None, words: str
) -> None:
    (copy / name).unlink(missing_ok=True)
    if content is not None:
        (copy / name).write_bytes(content)
    found = not_published(registered(), [copy], store, settings)
    assert found == f"a worker of toy 1.0 does not run what was published: {words}"


def test_doctor_replaced_archive_is_found(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    other = archive_at(tmp_path / "store" / "toy-1.0.mar", {**CONTENTS, "toy_handler.py": b"class Other: ...\n"})
    assert open_archive(other).version == "1.0"
    found = not_published(registered(), [], store, settings)
    assert found == f"{other} is not the archive that was published under this name"


@pytest.mark.parametrize("version", [registered(version="2.0"), registered("Toy"), registered("../toy")], ids=str)
def test_what_is_registered_and_was_never_published_is_seen(
    settings: Settings, store: FolderStore, version: ModelVersion
) -> None:
    # Registered under the published archive's own name, which says nothing.
    found = not_published(version, [], store, settings)
    assert found == f"{version.model} {version.version} is registered and not in the store"


def test_doctor_names_unsigned_and_outdated_archives(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    _, public = generate_keys(tmp_path / "keys")
    strict = load([f"paths.state={tmp_path / 'state'}", f"signing.public_key={public}", "signing.required=true"])
    assert not_trusted("toy-1.0.mar", store, settings) is None
    assert not_trusted("toy-9.0.mar", store, settings) is None  # another check names what is gone
    assert "is not signed" in str(not_trusted("toy-1.0.mar", store, strict))
    assert "is not signed" in str(not_published(registered(), [], store, strict))


@pytest.fixture
def worker(copy: Path) -> Iterator[int]:
    """The process id of a program that runs in the engine's copy, as a worker does."""
    with subprocess.Popen([sys.executable, "-c", "input()"], cwd=copy, stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


def test_the_folder_of_a_worker_is_that_of_its_process(settings: Settings, copy: Path, worker: int) -> None:
    host = ExaminedHost(Deployment(settings, Sockets.of_this_machine()), settings.engine.hosts[0])
    assert folders(registered(pid=worker), host) == [copy]
    assert folders(registered(pid=2**30), host) == []
    elsewhere = host.node.model_copy(update={"management_url": "http://192.0.2.1:8081"})
    assert folders(registered(pid=worker), ExaminedHost(host.deployment, elsewhere)) == []
