"""Durable files: staging folders, atomic replacement, secrets written once, locks."""

import errno
import os
from pathlib import Path
from threading import Event, Thread

import pytest

from errors import StoreError
from files import file_lock, remove_durably, replace_durably, staging_folder, write_atomic, write_once


def test_staging_folder_is_empty_and_removed_afterwards(tmp_path: Path) -> None:
    with staging_folder(tmp_path / "new", "toy") as work:
        assert work.parent == tmp_path / "new"
        assert list(work.iterdir()) == []
        (work / "half").write_text("...")
    assert list((tmp_path / "new").iterdir()) == []


def interrupted(parent: Path) -> None:
    with staging_folder(parent, "toy") as work:
        (work / "half").write_text("...")
        raise KeyboardInterrupt


def test_the_folder_is_gone_after_an_interrupt(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        interrupted(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared(tmp_path: Path) -> None:
    left = tmp_path / ".toy.build"
    (left / "deep").mkdir(parents=True)
    (left / "deep" / "half").write_text("...")
    (left / "link").symlink_to(tmp_path)
    with staging_folder(tmp_path, "toy") as work:
        assert work == left
        assert list(work.iterdir()) == []
    assert tmp_path.exists()


def test_replace_durably_syncs_file_and_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    (tmp_path / "draft").write_text("new")
    replace_durably(tmp_path / "draft", tmp_path / "file")
    assert synced == [str(tmp_path / "draft"), str(tmp_path)]
    assert (tmp_path / "file").read_text() == "new"


def test_write_atomic_mode_is_set_whatever_the_umask(tmp_path: Path) -> None:
    write_atomic(tmp_path / "shared", "text", 0o644)
    write_atomic(tmp_path / "private", b"bytes", 0o600)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("shared", "private")] == [0o644, 0o600]
    assert (tmp_path / "private").read_bytes() == b"bytes"


def test_write_atomic_error_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(StoreError, match=r"state: .*; a file or folder of another kind has this name; move it away$"):
        write_atomic(tmp_path / "state" / "serving.json", "{}")


def test_write_once_is_private_synced_and_never_overwrites(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    secret = tmp_path / "secret"
    assert write_once(secret, "first")
    assert not write_once(secret, "second")
    assert secret.read_text() == "first"
    assert secret.stat().st_mode & 0o777 == 0o600
    assert synced == [tmp_path / ".secret.build" / "secret", tmp_path]
    assert list(tmp_path.iterdir()) == [secret]


def test_staging_folder_that_another_process_removes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.mkdir
    removed: list[Path] = []

    def mkdir(path: Path, mode: int = 0o777) -> None:
        if path.name == ".toy.build" and not removed:  # it is there, and then it is not
            removed.append(path)
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        real(path, mode)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with staging_folder(tmp_path, "toy") as work:
        assert work.is_dir()
    assert removed


def test_remove_durably_of_a_missing_file_is_fine(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    for _ in range(2):
        remove_durably(tmp_path / "file")
    assert list(tmp_path.iterdir()) == []


def test_file_lock_waits_for_the_holder_and_says_so_once(tmp_path: Path) -> None:
    waiting, order = Event(), []

    def second() -> None:
        with file_lock(tmp_path / "folder" / "lock", on_wait=waiting.set):
            order.append("second")

    thread = Thread(target=second)
    with file_lock(tmp_path / "folder" / "lock"):
        thread.start()
        assert waiting.wait(10)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
