"""The packages of an archive are resolved beside those of the engine, locked, and installed once. No index is asked."""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import settings
from archive.requirements_file import RequestedPackages
from delivery.archive_packages import check_against_engine, engine_packages, install_packages, tree_files
from errors import ArchiveError
from files import file_mark

ARCHIVE = Path("theirs.mar")


@pytest.fixture(autouse=True)
def _without_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


def wheel(folder: Path, name: str, *requires: str, listed_hash: Callable[[str], str] = _hash) -> dict[str, bytes]:
    """A wheel with one module, by its file name."""
    info = f"{name}-1.0.dist-info"
    needs = "".join(f"Requires-Dist: {each}\n" for each in requires)
    files = {
        f"{name}.py": "VERSION = '1.0'\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{needs}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = "".join(f"{path},sha256={listed_hash(text)},{len(text)}\n" for path, text in files.items())
    path = folder / f"{name}-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as file:
        for each, text in {**files, f"{info}/RECORD": f"{rows}{info}/RECORD,,\n"}.items():
            file.writestr(each, text)
    return {path.name: path.read_bytes()}


def asked(*lines: str, **wheels: bytes) -> RequestedPackages:
    return RequestedPackages(tuple(map(Requirement, lines)), {}, wheels)


def loaded(tmp_path: Path) -> settings.Settings:
    return settings.load([f"paths.state={tmp_path / 'state'}", "engine.requirements=allow"])


def test_packages_are_locked_with_all_that_they_need_and_installed_once(tmp_path: Path) -> None:
    wheels = wheel(tmp_path, "first_one", "second_one>=1", "numpy") | wheel(tmp_path, "second_one")
    found = install_packages(ARCHIVE, asked("second-one", **wheels), loaded(tmp_path))
    hashes = {name.partition("_")[0]: hashlib.sha256(content).hexdigest() for name, content in wheels.items()}
    assert found["MAR-INF/requirements.lock"].decode().splitlines() == [
        f"first-one==1.0 --hash=sha256:{hashes['first']}",
        f"second-one==1.0 --hash=sha256:{hashes['second']}",
    ]
    assert found["MAR-INF/packages/first_one.py"] == b"VERSION = '1.0'\n"
    assert json.loads(found["MAR-INF/environment.json"])["platform"] is None
    assert not [name for name in found if "numpy" in name]  # the engine's own stays

    [kept] = (tmp_path / "state" / "packages").iterdir()
    was = file_mark(kept)
    assert install_packages(ARCHIVE, asked("second-one", **wheels), loaded(tmp_path)) == found
    assert file_mark(kept) == was
    (kept / "first_one.py").write_text("VERSION = 'changed'\n")
    assert list(tree_files(kept)[1]) == ["second-one"]


def test_package_that_needs_another_torch_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError) as caught:
        install_packages(ARCHIVE, asked(**wheel(tmp_path, "old_one", "torch<2")), loaded(tmp_path))
    assert str(caught.value).startswith("theirs.mar: its packages cannot be installed: ")
    assert "old-one 1.0 depends on torch<2" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


def test_package_that_no_index_has_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"cannot be installed: .*no-such-package"):
        install_packages(ARCHIVE, asked("no-such-package==1.0"), loaded(tmp_path))
    assert list((tmp_path / "state" / "packages").iterdir()) == []


def test_package_whose_index_has_no_sha256_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [(name, content)] = wheel(tmp_path, "first_one").items()
    page = tmp_path / "index.html"
    page.write_text(f'<a href="{name}#md5={hashlib.md5(content).hexdigest()}">{name}</a>')
    monkeypatch.setenv("PIP_FIND_LINKS", page.as_uri())
    with pytest.raises(ArchiveError, match=r"^theirs\.mar: the index has no sha256 of first[-_]one 1\.0; "):
        install_packages(ARCHIVE, asked("first-one"), loaded(tmp_path))


def test_package_whose_files_differ_from_its_list_is_named_and_not_kept(tmp_path: Path) -> None:
    wheels = wheel(tmp_path, "first_one") | wheel(tmp_path, "broken_one", listed_hash=lambda _: _hash("other"))
    with pytest.raises(ArchiveError, match=r"cannot be installed: files of broken-one are not those"):
        install_packages(ARCHIVE, asked(**wheels), loaded(tmp_path))
    assert list((tmp_path / "state" / "packages").iterdir()) == []


def test_version_that_differs_from_the_engines_is_refused_before_anything_is_asked() -> None:
    torch = engine_packages("requirements-worker.txt")["torch"]
    check_against_engine(ARCHIVE, asked("torch>=2", "torch==1.0; python_version < '3'", "emoji==2.0"), "torchserve")
    with pytest.raises(ArchiveError) as caught:
        check_against_engine(ARCHIVE, asked("torch==1.13.1"), "torchserve")
    assert f"asks for torch==1.13.1, and the engine's workers share torch {torch}" in str(caught.value)
