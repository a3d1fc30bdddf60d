"""An archive is believed only after everything that can be checked without running it was checked."""

import json
import stat
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from archive import ArchiveFile, TrustPolicy, UnpackLimits, open_archive, write_zip
from archive.container import Member, check_structure
from errors import ArchiveError
from tests.archive.made import CHECKSUMS, CONTENTS, FIXED, MANIFEST, SAMPLE, archive_at, checked, with_entry


def special(name: str, kind: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = (kind | 0o777) << 16
    return entry


def refused(path: Path, words: str, limits: UnpackLimits | None = None) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        open_archive(path, limits or UnpackLimits())
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_archive_opens_with_its_documents_and_files(tmp_path: Path) -> None:
    archive = open_archive(archive_at(tmp_path / "toy.mar"))

    assert (archive.model_name, archive.version) == ("toy", "1.0")
    assert archive.card["kind"] == "vision"
    assert archive.golden["tolerance"] == 1e-4
    assert {file.name for file in archive.files} == {*CONTENTS, FIXED, CHECKSUMS}
    assert archive.size == (tmp_path / "toy.mar").stat().st_size
    assert next(file.size for file in archive.files if file.name == "model.onnx") == 10240


def test_reading_an_archive_imports_neither_torch_nor_numpy(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    code = (
        "import sys, pathlib, archive; archive.open_archive(pathlib.Path(sys.argv[1])); "
        "print([name for name in ('torch', 'numpy', 'cryptography', 'serialize') if name in sys.modules])"
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
        ("MAR-INF/ﬁxed.json", "twice"),
        ("Straße", "not listed in"),
        (special("shortcut", stat.S_IFLNK), "the link or special file 'shortcut'"),
        (special("pipe", stat.S_IFIFO), "the link or special file 'pipe'"),
        (special("plain", stat.S_IFREG), "not listed in"),
        (special("unknown", 0), "not listed in"),
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
    contents = {key: data for key, data in checked(CONTENTS).items() if key != name}
    write_zip(contents, tmp_path / "toy.mar")
    refused(tmp_path / "toy.mar", f"has no {name}")


def test_open_archive_earlier_format_is_refused_with_remedy(tmp_path: Path) -> None:
    contents = checked(CONTENTS)
    del contents[FIXED]
    lines = contents[CHECKSUMS].decode().splitlines(keepends=True)
    contents[CHECKSUMS] = "".join(line for line in lines if not line.endswith(f"  {FIXED}\n")).encode()
    write_zip(contents, tmp_path / "toy.mar")
    refused(tmp_path / "toy.mar", "is of an earlier version, .*: build and sign it again$")


def test_an_archive_without_checksums_is_refused(tmp_path: Path) -> None:
    write_zip({key: data for key, data in checked(CONTENTS).items() if key != CHECKSUMS}, tmp_path / "toy.mar")
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


SIZES = {name: len(data) for name, data in checked(CONTENTS).items()}
TOTAL, LARGEST = sum(SIZES.values()), max(SIZES[name] for name in SIZES if name.endswith((".json", ".sha256")))


@pytest.mark.parametrize(
    ("limits", "less", "words"),
    [
        (UnpackLimits(total=TOTAL), UnpackLimits(total=TOTAL - 1), f"claims {TOTAL} bytes .* the limit is {TOTAL - 1}"),
        (UnpackLimits(files=len(SIZES)), UnpackLimits(files=len(SIZES) - 1), "holds 9 files, the limit is 8"),
        (UnpackLimits(document=LARGEST), UnpackLimits(document=LARGEST - 1), f"is larger than {LARGEST - 1} bytes"),
    ],
    ids=["all together", "number of files", "a document"],
)
def test_claims_up_to_a_limit_are_read_and_more_refused(
    tmp_path: Path, limits: UnpackLimits, less: UnpackLimits, words: str
) -> None:
    path = archive_at(tmp_path / "toy.mar")
    assert open_archive(path, limits).model_name == "toy"
    refused(path, words, less)


@pytest.mark.parametrize(
    "make",
    [
        UnpackLimits,
        lambda: TrustPolicy(1),
        lambda: ArchiveFile("a", 1, "00"),
        lambda: Member("a", 0, 0, 1, 1, 0, 0),
    ],
)
def test_what_was_found_cannot_be_changed_afterwards(make: Callable[[], object]) -> None:
    assert hash(make()) == hash(make())


def test_the_limits_without_settings_are_these() -> None:
    assert UnpackLimits() == UnpackLimits(files=10_000, total=17_179_869_184, document=67_108_864)


def test_a_checksum_list_that_is_no_list_is_refused(tmp_path: Path) -> None:
    contents = checked(CONTENTS)
    [first, *_] = contents[CHECKSUMS].splitlines(keepends=True)
    for line in (b"what?\n", first.replace(b"  ", b" "), first.upper(), first, b"\xff\n"):
        write_zip(contents | {CHECKSUMS: contents[CHECKSUMS] + line}, tmp_path / "toy.mar")
        refused(tmp_path / "toy.mar", "has the unreadable line|is not UTF-8 text")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "toy.mar", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in checked(CONTENTS).items():
            archive.writestr(name, data)
        archive.writestr("zeros", bytes(64 * 1024**2))
    assert (tmp_path / "toy.mar").stat().st_size < 1024**2
    refused(tmp_path / "toy.mar", "claims 67", UnpackLimits(total=32 * 1024**2))


def test_entries_that_share_bytes_are_refused(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    with zipfile.ZipFile(path, "a") as archive:
        twin = zipfile.ZipInfo("twin")
        original = archive.getinfo("model.onnx")
        for attribute in ("header_offset", "CRC", "compress_size", "file_size", "compress_type"):
            setattr(twin, attribute, getattr(original, attribute))
        archive.filelist.append(twin)
        archive._didModify = True  # type: ignore[attr-defined]  # zipfile offers no way to make a broken file
    refused(path, "belong to no file, or to two, in front of 'twin'")


@pytest.mark.parametrize(
    ("method", "packed", "size", "fits"),
    [(0, 7, 7, True), (0, 7, 8, False), (0, 7, 6, False), (8, 7, 7700, True), (8, 7, 7701, False), (8, 0, 1, False)],
)
def test_a_file_that_claims_more_than_it_can_hold_is_refused(method: int, packed: int, size: int, fits: bool) -> None:
    member = Member("a", method, 0, packed, size, 0, 0)
    if fits:
        check_structure([member], UnpackLimits())
    else:
        with pytest.raises(ArchiveError, match=f"claims {size} bytes for 'a', which holds {packed}"):
            check_structure([member], UnpackLimits())


@pytest.mark.parametrize("method", [1, 9, 12, 14, 93])
def test_what_java_does_not_unpack_is_refused(method: int) -> None:
    with pytest.raises(ArchiveError, match="'a', which is neither stored nor deflated"):
        check_structure([Member("a", method, 0, 1, 1, 0, 0)], UnpackLimits())


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["größe", "gro\u0308ße"], "twice"),
        (["STRASSE", "straße"], "twice"),
        (["a/B", "A/b"], "twice"),
        (["ﬁ", "fi"], "twice"),
        (["a", "A/b"], "'a' as a file and as a folder"),
        (["a/b", "a/c", "b/a"], None),
        (["é", "e"], None),
    ],
)
def test_names_that_are_one_on_some_system_are_refused(names: list[str], words: str | None) -> None:
    members = [Member(name, 0, 0, 1, 1, 0, 0) for name in names]
    if words is None:
        check_structure(members, UnpackLimits())
    else:
        with pytest.raises(ArchiveError, match=words):
            check_structure(members, UnpackLimits())


@pytest.mark.parametrize("name", ["", ".", "..", "/", "a/", "a/..", "a\x00b", "a\u200bb", "c:x", "\\a"])
def test_what_is_no_plain_path_is_refused(name: str) -> None:
    with pytest.raises(ArchiveError, match="path"):
        check_structure([Member(name, 0, 0, 1, 1, 0, 0)], UnpackLimits())


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
    refused(path, "'model.onnx', whose data do not fit its CRC-32")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "none.mar", "No such file")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"tolerance": None}, "golden.json: tolerance must be a number from 0 to 1"),
        ({"tolerance": 1.5}, "tolerance must be a number from 0 to 1"),
        ({"tolerance": 1e9}, "tolerance must be a number from 0 to 1"),
        ({"tolerance": -1e-9}, "tolerance must be a number from 0 to 1"),
        ({"tolerance": float("nan")}, "golden.json is not JSON: NaN is not a number"),
        ({"tolerance": True}, "tolerance must be a number"),
        ({"tolerance": 0}, None),
        ({"tolerance": 1}, None),
        ({"samples": []}, "samples must be a list that is not empty"),
        ({"samples": [{**SAMPLE, "body": "ß"}]}, "sample 0: body is not base64"),
        ({"samples": [{**SAMPLE, "predictions": 1}]}, "predictions must be a list"),
    ],
    ids=str,
)
def test_open_archive_empty_golden_answers_are_refused(
    tmp_path: Path, change: dict[str, object], words: str | None
) -> None:
    golden = json.dumps(json.loads(CONTENTS["golden.json"]) | change).encode()
    path = archive_at(tmp_path / "toy.mar", {**CONTENTS, "golden.json": golden})
    if words is None:
        assert open_archive(path).golden["tolerance"] == change["tolerance"]
    else:
        refused(path, words)


def test_golden_answers_without_a_tolerance_are_refused(tmp_path: Path) -> None:
    golden = json.dumps({"samples": [SAMPLE]}).encode()
    refused(archive_at(tmp_path / "toy.mar", {**CONTENTS, "golden.json": golden}), "tolerance is missing")


def test_a_file_is_read_as_it_was_checked_and_not_otherwise(tmp_path: Path) -> None:
    path = archive_at(tmp_path / "toy.mar")
    archive = open_archive(path)
    assert archive.read("model.onnx") == CONTENTS["model.onnx"]
    with pytest.raises(ArchiveError, match=f"^{path}: has no other$"):
        archive.read("other")
    for weights in (b"other weights", CONTENTS["model.onnx"][::-1]):
        archive_at(path, {**CONTENTS, "model.onnx": weights})
        with pytest.raises(ArchiveError, match=r"model\.onnx was changed after it had been checked"):
            archive.read("model.onnx")
    archive_at(path, {name: data for name, data in CONTENTS.items() if name != "model-config.yaml"})
    with pytest.raises(ArchiveError, match=r"has no model-config\.yaml"):
        archive.read("model-config.yaml")


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
