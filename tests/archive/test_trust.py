"""The one opening for archives whose code runs."""

from pathlib import Path

import pytest

from archive import TrustPolicy, open_archive, open_trusted
from archive.signing import generate_keys
from errors import ArchiveError
from tests.archive.made import CONTENTS, archive_at, checked

ROOM = sum(map(len, checked(CONTENTS).values()))


def test_open_trusted_unpacks_checked_bytes(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    trusted = open_trusted(path, TrustPolicy(ROOM))
    checked_one = open_archive(path)
    assert (trusted.sha256, trusted.files, trusted.card) == (checked_one.sha256, checked_one.files, checked_one.card)
    trusted.unpack(tmp_path / "unpacked")
    found = {file for file in (tmp_path / "unpacked").rglob("*") if file.is_file()}
    unpacked = {file.relative_to(tmp_path / "unpacked").as_posix(): file.read_bytes() for file in found}
    assert unpacked == checked(CONTENTS)


def test_what_was_replaced_since_is_not_unpacked_to_run(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    trusted = open_trusted(path, TrustPolicy(ROOM))
    archive_at(path, {**CONTENTS, "toy_handler.py": b"class Oth: ...\n"})
    with pytest.raises(ArchiveError, match=f"^{path}: .* was changed after it had been checked"):
        trusted.unpack(tmp_path / "unpacked")


def test_nothing_is_unpacked_over_a_file_that_is_there(tmp_path: Path) -> None:
    trusted = open_trusted(archive_at(tmp_path / "toy.mar"), TrustPolicy(ROOM))
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / "model.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ArchiveError, match="File exists"):
        trusted.unpack(tmp_path / "unpacked")
    assert not (tmp_path / "elsewhere").exists()


def test_limits_code_and_signature_are_looked_at(tmp_path: Path) -> None:
    private, public = generate_keys(tmp_path / "keys")
    path = archive_at(tmp_path / "toy.mar")
    for trust, words in (
        (TrustPolicy(ROOM - 1), "the limit is"),
        (TrustPolicy(ROOM, str(public), required=True), "is not signed"),
        (TrustPolicy(ROOM, required=True), "is not signed, and signing.required asks for it"),
    ):
        with pytest.raises(ArchiveError, match=f"^{path}: .*{words}"):
            open_trusted(path, trust)
    assert open_trusted(path, TrustPolicy(ROOM, str(public))).signature_sha256 is None
    archive_at(path, {**CONTENTS, "toy_handler.py": b"x = 1\n"})
    with pytest.raises(ArchiveError, match="must define one class"):
        open_trusted(path, TrustPolicy(ROOM))
    archive_at(path, CONTENTS, private)
    assert open_trusted(path, TrustPolicy(2 * ROOM, str(public), required=True)).signature_sha256 is not None
    _, stranger = generate_keys(tmp_path / "stranger")
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        open_trusted(path, TrustPolicy(2 * ROOM, str(stranger)))
