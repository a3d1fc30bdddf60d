"""An archive is believed only after everything that can be checked without running it was checked."""

import json
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from archive import Limits, open_archive
from errors import ArchiveError
from tests.archive.made import CHECKSUMS, CONTENTS, MANIFEST, archive_at, checked, with_entry


def link(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


def refused(path: Path, words: str, limits: Limits | None = None) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        open_archive(path, limits or Limits())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_archive_opens_with_its_documents_and_files(tmp_path: Path) -> None:
    archive = open_archive(archive_at(tmp_path / "toy.mar"))

    assert (archive.model_name, archive.version) == ("toy", "1.0")
    assert archive.card["kind"] == "vision"
    assert archive.golden["tolerance"] == 1e-4
    assert {file.name for file in archive.files} == {*CONTENTS, CHECKSUMS}
    assert archive.size == (tmp_path / "toy.mar").stat().st_size
    assert next(file.size for file in archive.files if file.name == "model.onnx") == 10240


def test_reading_an_archive_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    code = (
        "import sys, pathlib, archive; archive.open_archive(pathlib.Path(sys.argv[1])); "
        "print([name for name in ('torch', 'numpy', 'handlers', 'serialize') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("../escape.py", "leaves the folder"),
        ("handlers/../../escape.py", "leaves the folder"),
        ("..\\escape.py", "leaves the folder"),
        ("/etc/passwd", "absolute path"),
        ("C:/windows/x", "absolute path"),
        ("a//b", "not the plain path"),
        ("./a", "not the plain path"),
        ("folder/", "not the plain path"),
        ("new\nline", "not the plain path"),
        ("MODEL.onnx", "twice"),
        ("model.onnx/inner", "as a file and as a folder"),
        ("unlisted.py", "not listed in"),
        (link("shortcut"), "the link 'shortcut'"),
    ],
    ids=str,
)
def test_an_unsafe_or_unlisted_entry_is_refused(tmp_path: Path, entry: zipfile.ZipInfo | str, words: str) -> None:
    refused(with_entry(tmp_path / "toy.mar", entry), words)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile warns of what the test makes on purpose
def test_a_duplicate_is_refused(tmp_path: Path) -> None:
    refused(with_entry(tmp_path / "toy.mar", "model.onnx"), "'model.onnx' twice")


@pytest.mark.parametrize("name", [MANIFEST, "model.json", "golden.json"])
def test_a_missing_document_is_refused(tmp_path: Path, name: str) -> None:
    contents = {key: data for key, data in CONTENTS.items() if key != name}
    refused(archive_at(tmp_path / "toy.mar", contents), f"has no {name}")


def test_an_archive_without_checksums_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "toy.mar", "w") as archive:
        for name, data in CONTENTS.items():
            archive.writestr(name, data)
    refused(tmp_path / "toy.mar", f"has no {CHECKSUMS}")


def test_a_changed_file_is_refused_with_both_checksums(tmp_path: Path) -> None:
    contents = checked(CONTENTS) | {"model.onnx": b"other weights"}
    with zipfile.ZipFile(tmp_path / "toy.mar", "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    refused(tmp_path / "toy.mar", "model.onnx has sha256 .* says")


def test_a_file_that_is_listed_but_gone_is_refused(tmp_path: Path) -> None:
    contents = checked(CONTENTS)
    del contents["toy_handler.py"]
    with zipfile.ZipFile(tmp_path / "toy.mar", "w") as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    refused(tmp_path / "toy.mar", "toy_handler.py is missing, but listed")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(total=1000), "claims .* the limit is 1000"),
        (Limits(files=3), "holds 8 files, the limit is 3"),
        (Limits(document=20), "is larger than 20 bytes"),
    ],
    ids=["all together", "number of files", "a document"],
)
def test_claims_beyond_a_limit_are_refused(tmp_path: Path, limits: Limits, words: str) -> None:
    refused(archive_at(tmp_path / "toy.mar"), words, limits)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "toy.mar", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in checked(CONTENTS).items():
            archive.writestr(name, data)
        archive.writestr("zeros", bytes(64 * 1024**2))
    assert (tmp_path / "toy.mar").stat().st_size < 1024**2
    refused(tmp_path / "toy.mar", "claims 67", Limits(total=32 * 1024**2))


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    with zipfile.ZipFile(path, "a") as archive:
        twin = zipfile.ZipInfo("twin")
        original = archive.getinfo("model.onnx")
        for attribute in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
            setattr(twin, attribute, getattr(original, attribute))
        archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]  # zipfile offers no way to make a broken file
    refused(path, "on top of another entry|Overlapped|differ")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.99], ids=["empty", "ten bytes", "half", "almost whole"])
def test_a_truncated_archive_is_refused(tmp_path: Path, keep: float) -> None:
    path = archive_at(tmp_path / "toy.mar")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep) if keep < 1 else int(keep)])
    refused(path, "not a readable archive")


def test_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    data = bytearray(path.read_bytes())
    data[data.index(bytes(range(256))) + 300] ^= 1
    path.write_bytes(data)
    refused(path, "Bad CRC-32")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.mar", "No such file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model": None}, "has no model"),
        ({"model": {"modelName": "toy"}}, "has no model.modelVersion"),
        ({"model": json.loads(CONTENTS[MANIFEST])["model"] | {"handler": "../evil.py"}}, "not in the archive"),
        ({"model": json.loads(CONTENTS[MANIFEST])["model"] | {"modelName": "other"}}, "describes 'toy'"),
    ],
    ids=["no model", "no version", "handler elsewhere", "another name"],
)
def test_a_manifest_that_does_not_fit_is_refused(tmp_path: Path, change: dict[str, object], words: str) -> None:
    manifest = json.loads(CONTENTS[MANIFEST]) | change
    refused(archive_at(tmp_path / "toy.mar", dict(CONTENTS) | {MANIFEST: json.dumps(manifest).encode()}), words)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b"{", "not JSON"),
        (b"[]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (b'{"schema_version": 9}', "this kit reads 1"),
    ],
    ids=["cut", "a list", "no text", "a later schema"],
)
def test_a_card_that_cannot_be_read_is_refused(tmp_path: Path, document: bytes, words: str) -> None:
    refused(archive_at(tmp_path / "toy.mar", dict(CONTENTS) | {"model.json": document}), words)
