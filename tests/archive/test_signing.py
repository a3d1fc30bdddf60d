"""A signed archive proves who built it, under every version it is published as."""

import stat
from pathlib import Path

import pytest

from archive import Archive, open_archive, stamp, write_zip
from archive.__main__ import main
from archive.signing import generate_keys, signature_of, verify
from errors import ArchiveError, ConfigError
from tests.archive.made import CHECKSUMS, CONTENTS, archive_at, checked


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    return generate_keys(tmp_path / "keys")


def signed(path: Path, key: Path, contents: dict[str, bytes] | None = None) -> Archive:
    return open_archive(archive_at(path, contents or CONTENTS, key))


def test_signature_is_valid_for_every_stamped_version(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    private, public = keys
    archive = signed(tmp_path / "toy.mar", private)
    verify(archive, public, required=True)
    verify(stamp(archive, "7.1", tmp_path / "toy-7.1.mar"), public, required=True)
    assert archive.content_sha256 == open_archive(archive_at(tmp_path / "plain.mar")).content_sha256


def test_verify_unsigned_passes_only_if_optional(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    archive = open_archive(archive_at(tmp_path / "toy.mar"))
    verify(archive, keys[1], required=False)
    with pytest.raises(ArchiveError, match=r"is not signed, and signing\.required asks for it"):
        verify(archive, keys[1], required=True)


def test_verify_foreign_signature_is_refused_even_if_optional(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    stranger, _ = generate_keys(tmp_path / "stranger")
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        verify(signed(tmp_path / "toy.mar", stranger), keys[1], required=False)


def test_verify_accepts_old_and_new_key_of_one_file(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    new_private, new_public = generate_keys(tmp_path / "new")
    _, third = generate_keys(tmp_path / "third")
    both = tmp_path / "both.pub"
    both.write_bytes(keys[1].read_bytes() + new_public.read_bytes())
    for private in (keys[0], new_private):
        verify(signed(tmp_path / "toy.mar", private), both, required=True)
    both.write_bytes(third.read_bytes() + new_public.read_bytes())
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        verify(signed(tmp_path / "toy.mar", keys[0]), both, required=True)


def test_the_signature_of_another_key_makes_another_archive(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    again, _ = generate_keys(tmp_path / "again")
    first, second = (signed(tmp_path / "toy.mar", key).signature_sha256 for key in (keys[0], again))
    assert signed(tmp_path / "toy.mar", keys[0]).signature_sha256 == first != second
    assert open_archive(archive_at(tmp_path / "plain.mar")).signature_sha256 is None


@pytest.mark.parametrize("signature", [b"", b"not base64!\n", b"AAAA\n", b"A" * 88])
def test_a_signature_that_is_none_is_refused(tmp_path: Path, keys: tuple[Path, Path], signature: bytes) -> None:
    write_zip(checked(CONTENTS) | {"signature.ed25519": signature}, tmp_path / "toy.mar")
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        verify(open_archive(tmp_path / "toy.mar"), keys[1], required=False)


def test_the_signature_of_other_contents_is_refused(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    files, other = checked(CONTENTS), checked({**CONTENTS, "model.onnx": b"other weights"})
    write_zip(other | {"signature.ed25519": signature_of(files[CHECKSUMS], keys[0])}, tmp_path / "toy.mar")
    with pytest.raises(ArchiveError, match="its signature is not one of"):
        verify(open_archive(tmp_path / "toy.mar"), keys[1], required=True)


def test_generate_keys_is_private_and_never_replaces(keys: tuple[Path, Path]) -> None:
    private, public = keys
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    before = private.read_bytes()
    with pytest.raises(ConfigError, match="is there already"):
        generate_keys(private.parent)
    assert private.read_bytes() == before
    assert b"PRIVATE" not in public.read_bytes()


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes) -> None:
    wrong = tmp_path / "wrong.pem"
    wrong.write_bytes(content)
    with pytest.raises(ConfigError, match=r"signing\.key: .*wrong\.pem"):
        signature_of(b"", wrong)
    with pytest.raises(ConfigError, match=r"signing\.public_key: .*wrong\.pem"):
        verify(open_archive(archive_at(tmp_path / "toy.mar")), wrong, required=True)
    with pytest.raises(ConfigError, match="No such file"):
        signature_of(b"", tmp_path / "nothing.pem")


def test_keygen_makes_keys_once_and_prints_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert main(["keygen", str(folder)]) == 0
    assert "signing.required=true" in capsys.readouterr().out
    assert main(["keygen", str(folder)]) == 1
    assert capsys.readouterr().err == f"error: {folder / 'signing.key'} is there already; choose another folder\n"
    assert main(["keygen", "/proc/nothing"]) == 1
    assert "No such file" in capsys.readouterr().err
    assert main([]) == 2
    assert "usage: " in capsys.readouterr().err
