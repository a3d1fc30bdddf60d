"""Archives that torch-model-archiver wrote are read whole and checked, and none of their code runs."""

import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

import settings
from archive import UnpackLimits, open_trusted
from archive.adopted import LOCK, NO_PACKAGES, adopted_files, adopted_manifest
from archive.foreign import ForeignArchive, read_foreign
from archive.manifest import MANIFEST
from archive.trust import TrustPolicy
from archive.writer import write_sealed
from delivery.checks import check_packages
from errors import ArchiveError, RolloutError
from tests.archive.foreign_archives import handler_file, make_archive, workflow
from tests.archive.made import archive_at

NO_CONFIG: Mapping[str, object] = MappingProxyType({})
LIMITS = UnpackLimits(total=10**7)
MODEL = {"modelName": "toy", "modelVersion": "1.0", "handler": "toy.py"}


NOTHING: Mapping[str, Any] = {}


def zipped(
    path: Path,
    model: Mapping[str, Any] = NOTHING,
    more: Mapping[str, Any] = NOTHING,
    files: Mapping[str, bytes] = NOTHING,
) -> Path:
    manifest = {"runtime": "python", "model": {**MODEL, **model}, **more}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(MANIFEST, json.dumps(manifest))
        archive.writestr("toy.py", b"raise SystemExit('ran')")
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        read_foreign(path, LIMITS)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value).removeprefix(f"{path}: ")


@pytest.mark.parametrize("archive_format", ["default", "zip-store", "tgz", "no-archive"])
def test_every_format_of_the_archiver_holds_the_same_files(tmp_path: Path, archive_format: str) -> None:
    extra = tmp_path / "extra"
    (extra / "inner").mkdir(parents=True)
    (extra / "inner" / "words.txt").write_text("one\n")
    handler = handler_file(tmp_path)
    found = read_foreign(
        make_archive(tmp_path / "out", "parrot", handler, "--extra-files", extra, archive_format=archive_format), LIMITS
    )
    assert found.files["inner/words.txt"] == b"one\n"
    assert found.files["parrot_handler.py"] == handler.read_bytes()
    assert (found.name, found.version, found.handler, found.handler_file) == (
        "parrot",
        "1.0",
        "parrot_handler.py",
        "parrot_handler.py",
    )
    assert set(found.files) == {MANIFEST, "parrot_handler.py", "inner/words.txt"}


def test_reading_runs_no_code_and_unpickles_nothing(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    (tmp_path / "model.pt").write_bytes(pickle.dumps(Bomb()))
    handler = handler_file(tmp_path, f"import os\nos.mkdir({str(tmp_path / 'ran')!r})\n")
    path = make_archive(tmp_path / "out", "bomb", handler, "--serialized-file", tmp_path / "model.pt")
    assert "model.pt" in read_foreign(path, LIMITS).files
    assert not (tmp_path / "ran").exists()


def test_default_handlers_and_functions_need_no_file_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "model.pt").write_bytes(b"weights")
    own = make_archive(tmp_path, "own", "image_classifier", "--serialized-file", tmp_path / "model.pt")
    found = read_foreign(own, LIMITS)
    assert (found.handler, found.handler_file) == ("image_classifier", None)
    function = read_foreign(zipped(tmp_path / "f.mar", {"handler": "toy.py:predict"}), LIMITS)
    assert (function.handler, function.handler_file) == ("toy.py:predict", "toy.py")


def test_version_that_cannot_be_compared_becomes_the_first(tmp_path: Path) -> None:
    assert read_foreign(zipped(tmp_path / "a.mar", {"modelVersion": "2024-a"}), LIMITS).version == "1.0"
    assert read_foreign(zipped(tmp_path / "b.mar", {"modelVersion": None}), LIMITS).version == "1.0"
    assert read_foreign(zipped(tmp_path / "c.mar", {"modelVersion": "2.3"}), LIMITS).version == "2.3"


@pytest.mark.parametrize(
    ("model", "more", "files", "reason"),
    [
        ({}, {"runtime": "LSP"}, {}, "has the runtime 'LSP'"),
        ({"handler": "other.py"}, {}, {}, "names the handler 'other.py', which is neither in the archive nor"),
        ({"handler": None}, {}, {}, f"{MANIFEST} has no model.handler"),
        ({"configFile": "c.yaml"}, {}, {}, f"{MANIFEST} names 'c.yaml' as configFile, which is not in the archive"),
        ({}, {}, {"marina_adopted.py": b""}, "holds 'marina_adopted.py', a name that adoption adds"),
        ({}, {}, {"MAR-INF/golden.json": b""}, "holds 'MAR-INF/golden.json', a name that adoption adds"),
    ],
    ids=["runtime", "handler", "no handler", "config", "own file", "own document"],
)
def test_archive_that_cannot_be_adopted_is_refused_with_the_reason(
    tmp_path: Path, model: dict[str, Any], more: dict[str, Any], files: dict[str, bytes], reason: str
) -> None:
    assert reason in refused(zipped(tmp_path / "toy.mar", model, more, files))


def test_workflow_is_refused_with_what_to_do_instead(tmp_path: Path) -> None:
    reason = refused(workflow(tmp_path / "flow.war", "first.mar", "second.mar"))
    assert reason == (
        "is a workflow, which chains models inside TorchServe: adopt each of its models by its own .mar, and chain them"
        " in business.py"
    )


def test_own_archive_and_other_files_are_refused(tmp_path: Path) -> None:
    assert "is one of Marina's own archives already" in refused(archive_at(tmp_path / "own.mar"))
    (tmp_path / "text.mar").write_text("no zip")
    assert "not a readable archive" in refused(tmp_path / "text.mar")
    (tmp_path / "gzip.mar").write_bytes(b"\x1f\x8b\x08 no gzip")
    assert "not a readable tar.gz" in refused(tmp_path / "gzip.mar")
    assert "No such file" in refused(tmp_path / "missing.mar")
    (tmp_path / "empty").mkdir()
    assert f"has no {MANIFEST}" in refused(tmp_path / "empty")


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (tarfile.TarInfo("toy/../../etc/passwd"), "which leaves the folder"),
        (tarfile.TarInfo("/etc/passwd"), "holds the absolute path"),
    ],
    ids=["outside", "absolute"],
)
def test_tar_with_an_unsafe_path_is_refused(tmp_path: Path, entry: tarfile.TarInfo, reason: str) -> None:
    with tarfile.open(tmp_path / "toy.tar.gz", "w:gz") as tar:
        entry.size = 1
        tar.addfile(entry, io.BytesIO(b"x"))
    assert reason in refused(tmp_path / "toy.tar.gz")


def test_links_and_too_much_are_refused_in_tar_and_folder(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "toy.tar.gz", "w:gz") as tar:
        link = tarfile.TarInfo("toy/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    assert "holds the link or special file 'toy/link'" in refused(tmp_path / "toy.tar.gz")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "link").symlink_to("/etc/passwd")
    assert "holds the link or special file 'link'" in refused(folder)
    (folder / "link").unlink()
    (folder / "large").write_bytes(bytes(LIMITS.total + 1))
    assert "holds more than" in refused(folder)


def test_adopted_archive_keeps_files_whose_names_are_marinas_own(tmp_path: Path) -> None:
    path = zipped(tmp_path / "toy.mar", files={"model.json": b"theirs", "golden.json": b"theirs too"})
    foreign = read_foreign(path, LIMITS)
    sample = {"content_type": "text/plain", "body": "aGk=", "predictions": [{"answer": {"status": 200}}]}
    adopted = sealed_archive(foreign, tmp_path / "out", {"tolerance": 0.1, "samples": [sample]})
    assert (adopted.model_name, adopted.card["kind"]) == ("toy", "adopted")
    assert (adopted.read("model.json"), adopted.read("golden.json")) == (b"theirs", b"theirs too")
    assert adopted.read("MAR-INF/ADOPTED.json") == foreign.files[MANIFEST]


def test_adopted_archive_that_brings_its_packages_asks_for_none(tmp_path: Path) -> None:
    path = zipped(tmp_path / "toy.mar", {"requirementsFile": "needs.txt"}, files={"needs.txt": b"emoji"})
    sample = {"content_type": "text/plain", "body": "aGk=", "predictions": [{"answer": {"status": 200}}]}
    answers = {"tolerance": 0.1, "samples": [sample]}
    adopted = sealed_archive(read_foreign(path, LIMITS), tmp_path / "out", answers, {LOCK: b"emoji==2.14.1\n"})
    assert "requirementsFile" not in adopted.manifest["model"]
    with pytest.raises(RolloutError, match=r"brings packages of its own .*: engine\.requirements=allow serves it"):
        check_packages(adopted, settings.load())
    check_packages(adopted, settings.load(["engine.requirements=allow"]))


def test_files_of_an_adopted_archive_may_be_for_another_python(tmp_path: Path) -> None:
    foreign = read_foreign(zipped(tmp_path / "toy.mar", files={"old.py": b"print 'two'"}), LIMITS)
    sample = {"content_type": "text/plain", "body": "aGk=", "predictions": [{"answer": {"status": 200}}]}
    assert sealed_archive(foreign, tmp_path / "out", {"tolerance": 0.1, "samples": [sample]}).version == "1.0"


def sealed_archive(
    foreign: ForeignArchive,
    folder: Path,
    golden: dict[str, Any],
    packages: Mapping[str, bytes] = NO_PACKAGES,
    config: Mapping[str, object] = NO_CONFIG,
) -> Any:
    folder.mkdir()
    work = folder / "work"
    work.mkdir()
    card = {"schema_version": 1, "model_name": "toy", "kind": "adopted", "task": "adopted", "weights": "adopted"}
    files = adopted_files(foreign, card, golden, config, packages)
    target = folder / "toy.mar"
    write_sealed(files, adopted_manifest(foreign, "toy", foreign.version, files), None, work, target)
    return open_trusted(target, TrustPolicy(10**8))


def test_config_that_is_not_a_mapping_is_refused(tmp_path: Path) -> None:
    path = zipped(tmp_path / "toy.mar", {"configFile": "c.yaml"}, files={"c.yaml": b"- 1\n"})
    with pytest.raises(ArchiveError, match=r"c\.yaml is not a YAML file of keys and values"):
        _ = read_foreign(path, LIMITS).config


@pytest.mark.parametrize("key", ["serializedFile", "modelFile", "requirementsFile", "configFile"])
@pytest.mark.parametrize("name", [{}, ["toy.py"], 7])
def test_file_that_is_no_name_is_refused(tmp_path: Path, key: str, name: object) -> None:
    assert f"as {key}, which is not in the archive" in refused(zipped(tmp_path / "toy.mar", {key: name}))


@pytest.mark.parametrize("content", [b"when: 2020-13-45", b"[" * 5000, b"a: \xff", b"- 1"])
def test_configuration_that_cannot_be_read_is_refused(tmp_path: Path, content: bytes) -> None:
    path = zipped(tmp_path / "toy.mar", {"configFile": "config.yaml"}, files={"config.yaml": content})
    with pytest.raises(ArchiveError, match=r"config\.yaml is not a YAML file of keys and values"):
        _ = read_foreign(path, LIMITS).config
