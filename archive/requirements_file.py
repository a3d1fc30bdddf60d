"""The requirements.txt of an archive: packages by name, and wheels of the archive itself. Reading it runs nothing.

Options of pip, addresses, paths and repositories are refused: the user of the machine decides where packages come from.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from archive.foreign import ForeignArchive
from errors import ArchiveError

MOST = 1000  # packages
_COMMENT = re.compile(r"(^|\s)#.*$")
_CONTINUED = re.compile(r"\\\r?\n")
_PATH_OF_WHEEL = re.compile(r"[^\s@:]+\.whl")
_HASH = re.compile(r"\s--hash[= ](sha(?:256|384|512):[0-9a-f]+)")


@dataclass(frozen=True)
class RequestedPackages:
    """The packages that an archive asks for: requirements by name, hashes by requirement, and wheels by file name."""

    requirements: tuple[Requirement, ...]
    hashes: Mapping[str, tuple[str, ...]]
    wheels: Mapping[str, bytes]

    @property
    def shown(self) -> tuple[str, ...]:
        """A line for each package, for people."""
        return (*map(str, self.requirements), *self.wheels)

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines of a requirements file, without wheels."""
        return tuple(
            " ".join([str(each), *(f"--hash={value}" for value in self.hashes.get(str(each), ()))])
            for each in self.requirements
        )


def requested_packages(foreign: ForeignArchive) -> RequestedPackages | None:
    """Return what the archive's requirements ask for; None where they ask for nothing.

    Raises ArchiveError that names the first line which cannot be honoured.
    """
    text, name = foreign.requirements, foreign.model.get("requirementsFile")
    found: list[Requirement] = []
    hashes: dict[str, tuple[str, ...]] = {}
    wheels: dict[str, bytes] = {}
    for line in _lines(text or ""):
        if len(found) + len(wheels) >= MOST:
            raise ArchiveError(f"{foreign.path}: {name} asks for more than {MOST} packages")
        if _PATH_OF_WHEEL.fullmatch(line):
            path = PurePosixPath(line)
            wheels[path.name] = _wheel(foreign, str(name), path)
            continue
        asked = _HASH.findall(f" {line}")
        requirement = _requirement(foreign, str(name), _HASH.sub("", f" {line}").strip())
        found.append(requirement)
        hashes[str(requirement)] = tuple(asked)
    return RequestedPackages(tuple(found), hashes, wheels) if found or wheels else None


def _lines(text: str) -> list[str]:
    whole = _CONTINUED.sub(" ", text.removeprefix("\ufeff"))
    lines = (_COMMENT.sub("", line).strip() for line in whole.splitlines())
    return [line for line in lines if line]


def _requirement(foreign: ForeignArchive, name: str, line: str) -> Requirement:
    shown = f"{foreign.path}: {name} has {line[:120]!r}"
    if line.startswith("-") or " -" in line:
        raise ArchiveError(
            f"{shown}, an option of pip; pack it again without, and set an index where you adopt: PIP_INDEX_URL"
        )
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        requirement = None
    if requirement is None or requirement.url is not None:
        raise ArchiveError(
            f"{shown}, which is no package by name and version; put its wheel into the archive and name that instead"
        )
    return requirement


def _wheel(foreign: ForeignArchive, name: str, path: PurePosixPath) -> bytes:
    """Return the content of a wheel that lies in the archive."""
    shown = f"{foreign.path}: {name} has {str(path)[:120]!r}"
    try:
        parse_wheel_filename(path.name)
    except InvalidWheelFilename:
        raise ArchiveError(f"{shown}, which is not the name of a wheel") from None
    if str(path) not in foreign.files:
        raise ArchiveError(f"{shown}, which is not in the archive")
    return foreign.files[str(path)]


def canonical(name: str) -> str:
    """Return a package's name as indexes compare it."""
    return str(canonicalize_name(name))
