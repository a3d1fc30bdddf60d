"""Ed25519 signatures: a file inside an archive proves who built it, or one beside an archive of another maker.

`signature.ed25519` signs the bytes of `checksums.sha256` and so every file but the manifest, which adds only a version
to `MAR-INF/FIXED.json`: one signature is valid for all versions of the same content.
"""

import base64
import binascii
import hashlib
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from archive.manifest import CHECKSUMS, SIGNATURE
from archive.reader import Archive
from errors import ArchiveError, ConfigError, StoreError
from files import explained, remove_durably, write_atomic, write_once

PRIVATE, PUBLIC = "signing.key", "signing.pub"
BESIDE = ".ed25519"
_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)


def generate_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new key pair as PEM files into `folder` and return the private and the public file.

    Raises ConfigError when there is a key already, because deliveries would no longer trust what it signed, and
    StoreError when the files cannot be written.
    """
    private, public = folder / PRIVATE, folder / PUBLIC
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    if not write_once(private, secret):
        raise ConfigError(f"{private} is there already; choose another folder")
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        write_atomic(public, key.public_key().public_bytes(serialization.Encoding.PEM, form))
    except StoreError:
        remove_durably(private)  # half a pair would be in the way of the next call
        raise
    return private, public


def signature_of(checksums: bytes, key_file: Path) -> bytes:
    """Return the content of `signature.ed25519`. Raises ConfigError when `key_file` holds no such key."""
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"signing.key: {key_file}: {_reason(error)}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"signing.key: {key_file} is not an Ed25519 key; `python -m archive keygen` makes one")
    return base64.b64encode(key.sign(checksums)) + b"\n"


def verify(archive: Archive, key_file: Path, *, required: bool) -> None:
    """Verify the signature of a checked archive; an unsigned archive passes unless `required`.

    `key_file` holds one public key or several: the old and the new one while keys are rotated. Raises ArchiveError for
    an archive that is unsigned or signed by another key, ConfigError for a file without keys.
    """
    keys = _public_keys(key_file)
    if archive.signature_sha256 is None:
        if required:
            raise ArchiveError(f"{archive.path}: is not signed, and signing.required asks for it")
        return
    written, checksums = archive.read(SIGNATURE), archive.read(CHECKSUMS)
    if not any(_is_by(key, written, checksums) for key in keys):
        raise ArchiveError(f"{archive.path}: its signature is not one of {key_file}")


def signature_file(archive: Path) -> Path:
    """Return the path of the signature beside an archive of another maker."""
    return archive.with_name(f"{archive.name}{BESIDE}")


def sign_file(archive: Path, key_file: Path) -> Path:
    """Sign the bytes of an archive of another maker, write the signature beside it, and return its path.

    Raises ConfigError for a file without a key, StoreError when the signature cannot be written.
    """
    target = signature_file(archive)
    with explained(archive):
        content = archive.read_bytes()
    write_atomic(target, signature_of(content, key_file))
    return target


def is_signed_file(archive: Path, sha256: str, key_file: Path) -> bool:
    """Return whether the signature beside an archive is by one of the keys; False without one.

    Raises ArchiveError for a signature by another key or of other content than that of `sha256`, which was read before,
    and ConfigError for a file without keys.
    """
    written = signature_file(archive)
    keys = _public_keys(key_file)
    if not archive.is_file() or not written.is_file():
        return False
    with explained(written):
        signature, content = written.read_bytes(), archive.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArchiveError(f"{archive}: has changed since it was read")
    if not any(_is_by(key, signature, content) for key in keys):
        raise ArchiveError(f"{written}: not a signature of {archive.name} by a key of {key_file}")
    return True


def _is_by(key: Ed25519PublicKey, written: bytes, checksums: bytes) -> bool:
    try:
        key.verify(base64.b64decode(written.strip(), validate=True), checksums)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _public_keys(key_file: Path) -> list[Ed25519PublicKey]:
    try:
        content = key_file.read_bytes()
        # Without a PEM block, the library's own error describes the content.
        keys = [serialization.load_pem_public_key(block) for block in _PEM.findall(content) or [content]]
    except (OSError, ValueError) as error:
        raise ConfigError(f"signing.public_key: {key_file}: {_reason(error)}") from None
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if len(found) < len(keys):
        raise ConfigError(f"signing.public_key: {key_file} is not an Ed25519 key")
    return found


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "is not a PEM key without password"
