"""What goes into a store is written anew from what was checked; no byte of the container it came in survives."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest

from archive import TrustPolicy, open_trusted, stamped, write_zip
from archive.signing import generate_keys
from delivery.__main__ import main
from delivery.publish import next_free_version, publish, same_content, stamped_copy
from delivery.stores.folder import FolderStore
from errors import ArchiveError
from settings import Settings, load
from tests.archive.made import CONTENTS, FIXED, MANIFEST, archive_at, checked


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def words(tmp_path: Path, *more: str) -> list[str]:
    return ["store=local", f"store.folder={tmp_path / 'store'}", f"paths.state={tmp_path / 'state'}", *more]


def loaded(tmp_path: Path, *more: str) -> Settings:
    return load(words(tmp_path, *more))


def packed_otherwise(path: Path, key: Path | None = None) -> Path:
    """A whole archive in a container that this kit would not write, with a file's name in its times."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in reversed(checked(CONTENTS, key).items()):
            entry = zipfile.ZipInfo(name, (2020, 2, 2, 2, 2, 2))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return path


def test_publish_rewrites_the_container(tmp_path: Path, store: FolderStore) -> None:
    settings = loaded(tmp_path)
    found = []
    for path in (packed_otherwise(tmp_path / "other.mar"), archive_at(tmp_path / "own.mar")):
        publish(open_trusted(path, TrustPolicy.of(settings)), "1.0", store, settings)
        found.append((tmp_path / "store" / "toy-1.0.mar").read_bytes())
    assert found[0] == found[1] == archive_at(tmp_path / "again.mar").read_bytes()


def test_put_command_rewrites_the_container(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = packed_otherwise(tmp_path / "other.mar")
    assert main(["put", str(source), *words(tmp_path)]) == 0
    stored = (tmp_path / "store" / "toy.mar").read_bytes()
    assert stored == archive_at(tmp_path / "own.mar").read_bytes()
    assert hashlib.sha256(stored).hexdigest() in capsys.readouterr().out
    # Put from where it lies: the kit's own is left alone, a stranger's container is replaced.
    lying = tmp_path / "store" / "toy.mar"
    assert main(["put", str(lying), *words(tmp_path)]) == 0
    assert "is in the store already" in capsys.readouterr().out
    packed_otherwise(lying)
    assert main(["put", str(lying), *words(tmp_path)]) == 0
    assert lying.read_bytes() == stored


def test_publish_reads_the_checked_file(tmp_path: Path, store: FolderStore) -> None:
    settings = loaded(tmp_path)
    archive = open_trusted(archive_at(tmp_path / "toy.mar"), TrustPolicy.of(settings))
    archive_at(archive.path, {**CONTENTS, "toy_handler.py": b"class Other: ...\n"})
    with pytest.raises(ArchiveError, match="was changed after it had been checked"):
        publish(archive, "1.0", store, settings)
    assert store.path("toy-1.0.mar") is None


def test_stamped_copy_is_checked_and_removed(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path / "keys")
    settings = loaded(tmp_path, f"signing.public_key={public}", "signing.required=true")
    archive = open_trusted(packed_otherwise(tmp_path / "toy.mar", private), TrustPolicy.of(settings))
    with stamped_copy(archive, "2.5", {"threads": 3}, settings) as copy:
        assert (copy.version, stamped(copy), copy.content_sha256) == ("2.5", {"threads": 3}, archive.content_sha256)
        assert copy.sha256 == hashlib.sha256(copy.path.read_bytes()).hexdigest()
    assert list((tmp_path / "state" / "rollouts").iterdir()) == []
    # Without a key that fits, the copy is not given to anybody.
    strict = loaded(tmp_path, f"signing.public_key={generate_keys(tmp_path / 'new')[1]}")
    with pytest.raises(ArchiveError, match="its signature is not one of"), stamped_copy(archive, "2.6", {}, strict):
        pass


def older(path: Path) -> Path:
    """An archive as an earlier version of the kit wrote it: no checksum covers its manifest."""
    contents = checked(CONTENTS)
    listed = contents["checksums.sha256"].decode().splitlines(keepends=True)
    kept = "".join(line for line in listed if FIXED not in line)
    path.parent.mkdir(exist_ok=True)
    write_zip({**{name: contents[name] for name in contents if name != FIXED}, "checksums.sha256": kept.encode()}, path)
    return path


def test_same_content_unreadable_archive_is_different(tmp_path: Path, store: FolderStore) -> None:
    settings = loaded(tmp_path)
    archive = open_trusted(archive_at(tmp_path / "toy.mar"), TrustPolicy.of(settings))
    before = older(tmp_path / "store" / "toy-1.0.mar").read_bytes()
    assert next_free_version(archive, (), store, settings) == "1.1"
    assert same_content(archive, {}, "toy-1.0.mar", store) is False
    publish(archive, "1.1", store, settings)
    assert next_free_version(archive, (), store, settings) == "1.2"
    assert (tmp_path / "store" / "toy-1.0.mar").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"modelName": "../../x"}, "names are of a-z"),
        ({"modelVersion": "../../x"}, "is not a version"),
        ({"modelVersion": "9" * 5000}, "is not a version"),
        ({"threads": 10**4000}, "model.threads"),
    ],
    ids=["name", "version", "long version", "threads"],
)
def test_put_command_invalid_name_or_version_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, object], line: str
) -> None:
    manifest = json.loads(CONTENTS[MANIFEST])
    manifest["model"] |= change
    path = archive_at(tmp_path / "toy.mar", {**CONTENTS, MANIFEST: json.dumps(manifest).encode()})
    assert main(["put", str(path), *words(tmp_path)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {path}: ")
    assert line in printed
    assert printed.count("\n") == 1
    assert not (tmp_path / "store").exists()
