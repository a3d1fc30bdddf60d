"""A checkpoint that is fetched arrives whole and checked, or not at all."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from errors import BuildError
from serialize.checkpoints import ATTEMPTS, fetch
from tests.ports import free_port
from tests.serialize.file_server import FileServer, serving

DATA = random.Random(0).randbytes(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module")
def running() -> Iterator[FileServer]:
    with serving(DATA) as state:
        yield state


@pytest.fixture
def server(running: FileServer) -> FileServer:
    running.reset()
    return running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "weights" / "toy.pth"


def get(server: FileServer, target: Path, sha256: str | None = SHA256) -> bool:
    return fetch(server.url, target, sha256, pause=lambda seconds: None)


def failing(server: FileServer, target: Path, words: str, sha256: str | None = SHA256) -> str:
    with pytest.raises(BuildError, match=words) as caught:
        get(server, target, sha256)
    assert not target.exists()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_fetch_writes_the_whole_file_and_nothing_else(server: FileServer, target: Path) -> None:
    assert get(server, target) is True
    assert target.read_bytes() == DATA
    assert [path.name for path in target.parent.iterdir()] == ["toy.pth"]


def test_fetch_twice_sends_one_request(server: FileServer, target: Path) -> None:
    get(server, target)
    assert get(server, target, SHA256[:8]) is False
    assert len(server.requests) == 1


def test_a_file_with_the_wrong_checksum_is_fetched_again(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    target.write_bytes(b"an older file")
    assert get(server, target) is True
    assert target.read_bytes() == DATA


def test_broken_connections_are_resumed_where_they_broke(server: FileServer, target: Path) -> None:
    server.cuts = [1_000_000, 500_000, 1]
    assert get(server, target) is True
    assert target.read_bytes() == DATA
    assert server.requests == [None, "bytes=1000000-", "bytes=1500000-", "bytes=1500001-"]


def test_a_server_without_ranges_sends_it_all_again(server: FileServer, target: Path) -> None:
    server.ranges = False
    server.cuts = [2_000_000]
    assert get(server, target) is True
    assert target.read_bytes() == DATA


def test_a_later_run_goes_on_from_the_part_file(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "toy.pth.part").write_bytes(DATA[:1234])
    assert get(server, target) is True
    assert server.requests == ["bytes=1234-"]
    assert target.read_bytes() == DATA


def test_a_part_file_that_is_whole_already_is_taken(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "toy.pth.part").write_bytes(DATA)
    assert get(server, target) is True
    assert target.read_bytes() == DATA


def test_a_part_file_longer_than_the_file_starts_over(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "toy.pth.part").write_bytes(DATA + b"more")
    assert get(server, target) is True
    assert target.read_bytes() == DATA


def test_connections_that_bring_nothing_are_given_up(server: FileServer, target: Path) -> None:
    server.cuts = [1_000_000] + [0] * 100
    failing(server, target, f"gave up after {ATTEMPTS} attempts without a byte")
    assert len(server.requests) == 1 + ATTEMPTS
    assert (target.parent / "toy.pth.part").stat().st_size == 1_000_000


@pytest.mark.parametrize("sha256", ["0" * 64, "deadbeef"])
def test_a_wrong_checksum_keeps_nothing(server: FileServer, target: Path, sha256: str) -> None:
    words = failing(server, target, "expected", sha256)
    assert SHA256 in words
    assert list(target.parent.iterdir()) == []


def test_a_missing_page_is_said_once(server: FileServer, target: Path) -> None:
    server.status = 404
    failing(server, target, "the server responded with 404")
    assert len(server.requests) == 1


def test_a_server_in_trouble_is_asked_again_but_not_for_ever(server: FileServer, target: Path) -> None:
    server.status = 503
    failing(server, target, "the server responded with 503")
    assert len(server.requests) == ATTEMPTS


def test_a_server_that_is_not_there_is_named(target: Path) -> None:
    port = free_port()
    with pytest.raises(BuildError, match=f"127.0.0.1:{port}.*refused"):
        fetch(f"http://127.0.0.1:{port}/x.pth", target, None, pause=lambda seconds: None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_a_full_disk_is_said_in_one_line(server: FileServer, target: Path) -> None:
    target.parent.mkdir()
    (target.parent / "toy.pth.part").symlink_to("/dev/full")
    failing(server, target, rf"No space left on device \([\d,]+ bytes free, {len(DATA):,} needed\); free some space")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_named(server: FileServer, target: Path) -> None:
    target.parent.mkdir(mode=0o500)
    failing(server, target, "Permission denied")


def test_the_command_fetches_says_so_and_says_what_is_there(server: FileServer, tmp_path: Path) -> None:
    overrides = ["served_model=weather", f"served_model.checkpoint={server.url}", f"paths.weights={tmp_path}"]
    command = [sys.executable, "-m", "serialize.download", *overrides, f"served_model.sha256={SHA256[:10]}"]

    first = subprocess.run(command, capture_output=True, text=True, check=True)
    second = subprocess.run(command, capture_output=True, text=True, check=True)

    assert (tmp_path / "weather.pth").read_bytes() == DATA
    assert "downloaded" in first.stdout
    assert "100%" in first.stderr  # the progress bar
    assert "is there already" in second.stdout
    assert len(server.requests) == 1


def test_the_command_turns_an_error_into_one_line(server: FileServer, tmp_path: Path) -> None:
    server.status = 404
    overrides = ["served_model=weather", f"served_model.checkpoint={server.url}", f"paths.weights={tmp_path}"]
    done = subprocess.run(
        [sys.executable, "-m", "serialize.download", *overrides], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines() == [f"error: {server.url}: the server responded with 404 Not Found"]
