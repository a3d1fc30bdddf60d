"""The folder that a registration has unpacked into is the one that was not there before."""

import threading
from pathlib import Path

import pytest

from engines.engine_profile import ArchiveCopy
from engines.torchserve.unpacked import one_registration, unreadable


def test_unpacked_copy_is_the_new_folder(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    with one_registration(tmp_path) as found:
        (tmp_path / "new").mkdir()
        (tmp_path / "file").touch()
        (tmp_path / "link").symlink_to(tmp_path / "old")
        assert found() == ArchiveCopy(folder=tmp_path / "new")


@pytest.mark.parametrize(("count", "words"), [(0, "nothing was unpacked in"), (2, "2 archives were unpacked in")])
def test_unpacked_copy_without_one_new_folder_is_hidden(tmp_path: Path, count: int, words: str) -> None:
    with one_registration(tmp_path) as found:
        for number in range(count):
            (tmp_path / str(number)).mkdir()
        copy = found()
    assert copy.folder is None
    assert copy.hidden is not None
    assert words in copy.hidden


def test_a_second_registration_waits_for_the_first(tmp_path: Path) -> None:
    copies: list[ArchiveCopy] = []

    def second() -> None:
        with one_registration(tmp_path) as found:
            (tmp_path / "second").mkdir()
            copies.append(found())

    waiting = threading.Thread(target=second)
    with one_registration(tmp_path) as found:
        waiting.start()
        waiting.join(0.2)
        assert waiting.is_alive()
        (tmp_path / "first").mkdir()
        copies.append(found())
    waiting.join()
    assert copies == [ArchiveCopy(tmp_path / "first"), ArchiveCopy(tmp_path / "second")]


def test_unreadable_folder_names_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert unreadable(str(tmp_path), "engine.unpacked") is None
    for place in (None, str(tmp_path / "nowhere"), str(tmp_path / "file")):
        told = unreadable(place, "engine.unpacked")
        assert told is not None
        assert told.endswith("readable here, and name it as engine.unpacked")
