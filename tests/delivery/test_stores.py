"""A store takes an archive whole or not at all, under a name that is an archive's."""

import resource
from pathlib import Path

import pytest

from delivery.stores.folder import FolderStore, put_into_folder
from delivery.stores.nginx import FileBrowserStore
from delivery.stores.store import archive_file_name
from errors import StoreError
from settings.schema import NginxStoreSettings


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "built.mar"
    path.write_bytes(b"archive" * 1000)
    return path


def test_put_replaces_archive_of_same_name(tmp_path: Path, source: Path) -> None:
    store = FolderStore(tmp_path / "store")
    assert store.path("digits-1.0.mar") is None
    store.put(source, archive_file_name("digits", "1.0"))
    source.write_bytes(b"another")
    store.put(source, "digits-1.0.mar")
    stored = store.path("digits-1.0.mar")
    assert stored is not None
    assert stored.read_bytes() == b"another"
    assert [file.name for file in stored.parent.iterdir()] == ["digits-1.0.mar"]
    assert store.url("digits-1.0.mar") == "digits-1.0.mar"
    store.remove("digits-1.0.mar")
    store.remove("digits-1.0.mar")
    assert store.path("digits-1.0.mar") is None


@pytest.mark.parametrize(
    "name", ["../x.mar", "x", ".x.mar", "x.mar.part", "Digits-1.0.mar", "digits-.mar", "a/b.mar", ""]
)
def test_a_name_that_is_no_archives_is_refused(tmp_path: Path, source: Path, name: str) -> None:
    with pytest.raises(StoreError, match="the names of archives"):
        put_into_folder(source, tmp_path / "store", name)
    assert not (tmp_path / "store").exists()


def test_a_full_disk_leaves_the_old_archive_and_no_litter(source: Path) -> None:
    folder = source.parent / "store"
    put_into_folder(source, folder, "digits.mar")
    # A limit on file sizes stops a write in the middle, as a full disk does, and needs no right to mount one.
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError, match="File too large"):
            put_into_folder(source, folder, "digits.mar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (folder / "digits.mar").read_bytes() == b"archive" * 1000
    assert [file.name for file in folder.iterdir()] == ["digits.mar"]


def test_put_missing_source_keeps_old_archive(source: Path) -> None:
    folder = source.parent / "store"
    put_into_folder(source, folder, "digits.mar")
    source.unlink()
    with pytest.raises(StoreError, match="No such file"):
        put_into_folder(source, folder, "digits.mar")
    assert (folder / "digits.mar").read_bytes() == b"archive" * 1000
    assert [file.name for file in folder.iterdir()] == ["digits.mar"]


def test_without_a_file_browser_the_put_says_how_to_start_it(tmp_path: Path, source: Path) -> None:
    store = FileBrowserStore(
        NginxStoreSettings(name="nginx", host="127.0.0.1", port=1, folder=str(tmp_path / "served"))
    )
    with pytest.raises(StoreError, match=r"no file browser at http://127\.0\.0\.1:1; `make up` starts it"):
        store.put(source, "digits.mar")
