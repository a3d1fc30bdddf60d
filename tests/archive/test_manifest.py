"""The manifest says what the checksums cover, a version and a registration, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from archive import open_archive, write_zip
from archive.manifest import manifest_bytes
from errors import ArchiveError
from tests.archive.made import CARD, CONTENTS, FIXED, MANIFEST, archive_at, checked

Document = dict[str, Any]
GIVEN: Document = json.loads(CONTENTS[MANIFEST])


def with_manifest(path: Path, manifest: bytes) -> Path:
    """A whole archive whose manifest was changed afterwards, with all that a stranger can put right."""
    write_zip(checked(CONTENTS) | {MANIFEST: manifest}, path)
    return path


def refused(path: Path, words: str) -> None:
    with pytest.raises(ArchiveError, match=words) as caught:
        open_archive(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


def changed(**model: object) -> bytes:
    return manifest_bytes(GIVEN | {"model": GIVEN["model"] | model})


def test_manifest_bytes_ignore_key_order() -> None:
    assert manifest_bytes({"b": {"d": 1, "c": "ß"}, "a": 2}) == (
        b'{\n  "a": 2,\n  "b": {\n    "c": "\\u00df",\n    "d": 1\n  }\n}\n'
    )


def test_manifest_may_differ_in_version_and_registration_only(tmp_path: Path) -> None:
    path = tmp_path / "toy.mar"
    open_archive(with_manifest(path, changed(modelVersion="7.7", threads=2, coalesce=4)))
    for manifest in (
        changed(handler="handlers/__init__.py"),
        changed(serializedFile="model.json"),
        changed(configFile="golden.json"),
        changed(requirementsFile="model.json"),
        changed(extra=1),
        manifest_bytes(GIVEN | {"createdOn": "now"}),
        manifest_bytes(GIVEN | {"threads": 2}),
        manifest_bytes({key: value for key, value in GIVEN.items() if key != "runtime"}),
    ):
        refused(with_manifest(path, manifest), r"disagrees with MAR-INF/FIXED\.json, which the checksums")


@pytest.mark.parametrize(
    "manifest",
    [
        json.dumps(GIVEN).encode(),
        changed().replace(b'"handler"', b'"h\\u0061ndler"'),
        changed() + b" ",
        changed().rstrip(),
    ],
    ids=["another layout", "another spelling", "a blank more", "a line end less"],
)
def test_manifest_ambiguous_is_refused(tmp_path: Path, manifest: bytes) -> None:
    refused(with_manifest(tmp_path / "toy.mar", manifest), "is not written as this kit writes it")


def test_a_fixed_part_that_differs_is_refused(tmp_path: Path) -> None:
    other = checked({**CONTENTS, MANIFEST: changed(handler="handlers/__init__.py")})
    write_zip(other | {MANIFEST: changed()}, tmp_path / "toy.mar")
    refused(tmp_path / "toy.mar", "disagrees with")
    write_zip(checked(CONTENTS) | {FIXED: b"{}"}, tmp_path / "toy.mar")
    refused(tmp_path / "toy.mar", "FIXED.json has sha256")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (b'{"model": null}', "has no model"),
        (b"{}", "has no model"),
        (b'{"model": 1, "model": 2}', "the key 'model' is duplicated"),
        (manifest_bytes({"model": {"modelName": "toy"}}), "has no model.modelVersion"),
        (changed(modelVersion=1.0), "has no model.modelVersion"),
        (changed(modelName=["toy"]), "has no model.modelName"),
        (changed(handler=""), "has no model.handler"),
        (changed(serializedFile=None), "has no model.serializedFile"),
        (changed(handler="../evil.py"), "'../evil.py' as handler, which is not in the archive"),
        (changed(serializedFile="missing"), "as serializedFile, which is not in the archive"),
        (changed(configFile="missing"), "as configFile, which is not in the archive"),
        (changed(configFile=""), "as configFile, which is not in the archive"),
        (changed(modelName="../../x"), r"has the name '../../x'; names are of a-z, 0-9 and _"),
        (changed(modelName="x" * 101), "names are of a-z"),
        (changed(modelName="Toy"), "names are of a-z"),
        (changed(modelName="toy\n"), "names are of a-z"),
        (changed(modelVersion="../../x"), "'../../x' is not a version"),
        (changed(modelVersion="9" * 5000), "9... is not a version"),
        (changed(threads=0), "has 0 as model.threads, it must be a number from 1 to 4096"),
        (changed(coalesce=4097), "as model.coalesce, it must be a number from 1 to 4096"),
        (changed().replace(b'"1.0"', b"1" * 5000), "is not JSON: it has a number of too many digits"),
    ],
    ids=lambda value: str(value)[:60],
)
def test_manifest_without_model_is_refused_in_one_line(tmp_path: Path, manifest: bytes, words: str) -> None:
    refused(with_manifest(tmp_path / "toy.mar", manifest), words)


def test_a_name_of_a_hundred_letters_is_one(tmp_path: Path) -> None:
    name = "x" * 100
    card = json.dumps({"schema_version": 1, "model_name": name}).encode()
    path = archive_at(tmp_path / "toy.mar", {**CONTENTS, MANIFEST: changed(modelName=name), CARD: card})
    assert open_archive(path).model_name == name


@pytest.mark.parametrize(
    ("card", "words"),
    [
        ({"schema_version": 1, "model_name": "other"}, "describes 'other', MAR-INF/MANIFEST.json 'toy'"),
        ({"schema_version": 1}, "describes None"),
        ({"schema_version": 2, "model_name": "toy"}, "has schema_version 2, this kit reads 1"),
        ({"schema_version": "x" * 500, "model_name": "toy"}, r"has schema_version 'xxx.*x\.\.\., this kit"),
        ({"model_name": "toy"}, "has schema_version None"),
        ({"schema_version": 4096, "model_name": "toy"}, "has schema_version 4096, this kit"),
        ({"schema_version": 10**4000, "model_name": "toy"}, "schema_version a number beyond that"),
    ],
    ids=lambda value: str(value)[:60] if not isinstance(value, dict) else "card",
)
def test_a_card_of_another_model_or_schema_is_refused(tmp_path: Path, card: Document, words: str) -> None:
    refused(archive_at(tmp_path / "toy.mar", {**CONTENTS, CARD: json.dumps(card).encode()}), words)
