"""The checks that an archive must pass before its code runs.

    open_trusted     an archive of Marina's own: structure, checksums, code, signature ──▶ TrustedArchive
    verify_archive   an archive of any maker: safe to unpack, and signed where signatures are required

TorchServe itself checks nothing.
"""

import ast
import json
import re
import threading
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from archive.container import Container, UnpackLimits, check_structure, lay_out, naming
from archive.manifest import ADOPTED, CHECKSUMS, MANIFEST, check_version, object_of
from archive.reader import Archive, ArchiveFile, open_archive, verified
from errors import ArchiveError

if TYPE_CHECKING:
    from settings import Settings

LARGEST_SOURCE = 1024 * 1024  # bytes of one source file; hand-written ones are far smaller
LARGEST_MANIFEST = 1024 * 1024
_PARSER = threading.Lock()  # ast.parse of Python 3.11 raises SystemError when two threads are in it
FOREIGN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,99}")
"""Model names of other makers: safe in a URL, a file name and a metric."""


@dataclass(frozen=True)
class TrustPolicy:
    """The largest unpacked size in bytes, and the public key of trusted makers; None trusts anybody."""

    unpacked_bytes: int
    public_key: str | None = None
    required: bool = False

    @classmethod
    def of(cls, settings: "Settings") -> "TrustPolicy":
        """Return the policy that the settings describe."""
        signing = settings.signing
        return cls(settings.rollout.max_unpacked_bytes, signing.public_key, signing.required)


@dataclass(frozen=True)
class TrustedArchive(Archive):
    """An archive whose code may run; only `open_trusted` creates one."""

    def unpack(self, folder: Path) -> None:
        """Write its files, the same that were checked, into an empty folder."""
        with naming(self.path), Container.open(self.path) as container:
            for file in self.files:
                lay_out(verified(container, file), folder, file.name)


def open_trusted(path: Path, policy: TrustPolicy) -> TrustedArchive:
    """Open an archive whose structure, checksums, code and signature are correct. Raises ArchiveError otherwise.

    The signature is checked when the policy has a public key, and must exist when the policy requires it.
    """
    archive = scan(open_archive(path, UnpackLimits(total=policy.unpacked_bytes)))
    if policy.public_key is not None:
        # Imported here: programs that verify no signature need no cryptography.
        from archive.signing import verify

        verify(archive, Path(policy.public_key), required=policy.required)
    elif policy.required:
        raise ArchiveError(f"{path}: is not signed, and signing.required asks for it")
    return TrustedArchive(**{field.name: getattr(archive, field.name) for field in fields(Archive)})


def scan(archive: Archive) -> Archive:
    """Parse the code of a checked archive, without running it, and return the archive.

    Raises ArchiveError when a source file does not parse, or when the handler file does not define exactly one class.
    Of an adopted archive only the handler file is parsed: its other files may be for another Python.
    """
    with naming(archive.path):
        entry = archive.manifest["model"]["handler"]
        if not entry.endswith(".py"):
            raise ArchiveError(f"its handler {entry!r} is not a Python file")
        adopted = any(file.name == ADOPTED for file in archive.files)
        for file in archive.files:
            if file.name == entry or (file.name.endswith(".py") and not adopted):
                tree = _parsed(archive, file)
                if file.name == entry:
                    _check_handler(tree, entry)
    return archive


def _parsed(archive: Archive, file: ArchiveFile) -> ast.Module:
    name = file.name
    if file.size > LARGEST_SOURCE:
        raise ArchiveError(f"{name} is larger than {LARGEST_SOURCE} bytes")
    try:
        with _PARSER:
            return ast.parse(archive.read(name), name)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ArchiveError(f"{name} is not Python{where}: {getattr(error, 'msg', error)}") from None


def _check_handler(tree: ast.Module, entry: str) -> None:
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if len(classes) != 1:
        found = ", ".join(classes) or "none"
        raise ArchiveError(f"its handler {entry} must define one class, it defines {found}")


@dataclass(frozen=True)
class ArchiveIdentity:
    """The name and version that an archive declares."""

    model: str
    version: str


def verify_archive(path: Path, policy: TrustPolicy) -> ArchiveIdentity:
    """Check an archive of any maker and return its identity.

    Raises ArchiveError when it is broken, unsafe or untrusted. An archive that lists checksums must be one that
    `open_trusted` accepts.
    """
    with naming(path), Container.open(path) as container:
        check_structure(container.members, UnpackLimits(total=policy.unpacked_bytes))
        identity = _identity(container)
        has_checksums = any(member.name == CHECKSUMS for member in container.members)
        if not has_checksums and policy.required:
            raise ArchiveError("is not signed, and signing.required asks for it")
    if has_checksums:
        open_trusted(path, policy)
    return identity


def unpack_verified(path: Path, folder: Path, unpacked_bytes: int) -> None:
    """Unpack an archive into an empty folder; the caller has compared its sha256 with the one that was verified."""
    with Container.open(path) as container:
        check_structure(container.members, UnpackLimits(total=unpacked_bytes))
        for member in container.members:
            lay_out(container.chunks(member), folder, member.name)


def unpacked_manifest(folder: Path) -> dict[str, Any]:
    """Return the manifest of an unpacked archive."""
    content: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    return content


def _identity(container: Container) -> ArchiveIdentity:
    member = container.member(MANIFEST)
    if member.size > LARGEST_MANIFEST:
        raise ArchiveError(f"{MANIFEST} is larger than {LARGEST_MANIFEST} bytes")
    model = object_of(b"".join(container.chunks(member)), MANIFEST).get("model")
    if not isinstance(model, dict):
        raise ArchiveError(f"{MANIFEST} names no model or no handler")
    name, handler, version = model.get("modelName"), model.get("handler"), model.get("modelVersion") or "1.0"
    if not all(isinstance(each, str) and each for each in (name, handler, version)):
        raise ArchiveError(f"{MANIFEST} names no model or no handler")
    if not FOREIGN_NAME.fullmatch(str(name)):
        raise ArchiveError(f"{MANIFEST} has the name {str(name)[:80]!r}; names are of letters, digits, _, - and .")
    check_version(str(version))
    return ArchiveIdentity(str(name), str(version))
