"""Work in progress lies in one private folder, which is gone afterwards."""

import os
from pathlib import Path

import pytest

from archive.workplace import private_folder, publish


def test_the_folder_is_empty_beside_the_result_and_gone_afterwards(tmp_path: Path) -> None:
    with private_folder(tmp_path / "new", "toy") as work:
        assert work.parent == tmp_path / "new"
        assert list(work.iterdir()) == []
        (work / "half").write_text("...")
    assert list((tmp_path / "new").iterdir()) == []


def interrupted(parent: Path) -> None:
    with private_folder(parent, "toy") as work:
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
    with private_folder(tmp_path, "toy") as work:
        assert work == left
        assert list(work.iterdir()) == []
    assert tmp_path.exists()


def test_a_finished_file_and_its_folder_are_on_the_disk_before_anybody_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
    )
    (tmp_path / "draft").write_text("new")
    publish(tmp_path / "draft", tmp_path / "file")
    assert synced == [str(tmp_path / "draft"), str(tmp_path)]
    assert (tmp_path / "file").read_text() == "new"
