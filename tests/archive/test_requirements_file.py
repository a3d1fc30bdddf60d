"""The requirements of an archive: packages by name and its own wheels; everything else is refused, and named."""

from pathlib import Path

import pytest

from archive import UnpackLimits
from archive.foreign import read_foreign
from archive.requirements_file import RequestedPackages, requested_packages
from errors import ArchiveError
from tests.archive.test_foreign import zipped

WHEEL = "own-1.0-py3-none-any.whl"


def requested(tmp_path: Path, text: str) -> RequestedPackages | None:
    files = {"needs.txt": text.encode(), WHEEL: b"wheel"}
    archive = zipped(tmp_path / "toy.mar", {"requirementsFile": "needs.txt"}, files=files)
    return requested_packages(read_foreign(archive, UnpackLimits()))


def test_packages_by_name_and_wheels_of_the_archive_are_found(tmp_path: Path) -> None:
    digest = "sha256:" + "a" * 64
    found = requested(
        tmp_path,
        f"\ufeff# what it needs\nemoji ~= 2.14  # faces\n\nxxhash==3.5.0 \\\n  --hash={digest}\n./{WHEEL}\n"
        "tomli; python_version < '3.11'\nuvicorn[standard]>=0.20\n",
    )
    assert found is not None
    assert found.lines == (
        "emoji~=2.14",
        f"xxhash==3.5.0 --hash={digest}",
        'tomli; python_version < "3.11"',
        "uvicorn[standard]>=0.20",
    )
    assert found.wheels == {WHEEL: b"wheel"}


def test_requirements_without_a_package_ask_for_nothing(tmp_path: Path) -> None:
    assert requested(tmp_path, "# none\n\n") is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("--index-url https://evil.example/simple", "an option of pip; pack it again without, and set an index"),
        ("-r other.txt", "an option of pip"),
        ("-e .", "an option of pip"),
        ("emoji --global-option=x", "an option of pip"),
        ("git+https://example.org/own.git", "which is no package by name and version; put its wheel into the archive"),
        ("own @ https://example.org/own-1.0-py3-none-any.whl", "which is no package by name and version"),
        ("./folder", "which is no package by name and version"),
        ("/etc/passwd", "which is no package by name and version"),
        ("emoji=2", "which is no package by name and version"),
        ("../other-1.0-py3-none-any.whl", "which is not in the archive"),
        ("odd.whl", "which is not the name of a wheel"),
        ("\x1b[2Jemoji", "which is no package by name and version"),
    ],
)
def test_line_that_cannot_be_honoured_is_named(tmp_path: Path, line: str, reason: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        requested(tmp_path, f"emoji\n{line}\n")
    assert reason in str(caught.value)
    assert repr(line)[1:-1] in str(caught.value)
    assert str(caught.value).isprintable()


def test_endless_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"needs\.txt asks for more than 1000 packages"):
        requested(tmp_path, "emoji\n" * 2000)
