"""Ed25519 signatures: who built an archive, proven by a file inside it.

`signature.ed25519` signs the bytes of `checksums.sha256` and so every file but the manifest, which says what
`MAR-INF/FIXED.json` says and a version: a signature holds for all versions of the same content.
"""

import base64
import binascii
import os
import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from archive.model import CHECKSUMS, SIGNATURE, Archive
from errors import ArchiveError, ConfigError

PRIVATE, PUBLIC = "signing.key", "signing.pub"
_PEM = re.compile(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----", re.DOTALL)


def generate_keys(folder: Path) -> tuple[Path, Path]:
    """Write a new key pair as PEM into `folder`; returns the private file, readable by its owner alone, and the public.

    Raises ConfigError when there is one already: what it signed would no longer be believed.
    """
    private, public = folder / PRIVATE, folder / PUBLIC
    folder.mkdir(parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        with os.fdopen(os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secret)
    except FileExistsError:
        raise ConfigError(f"{private} is there already; choose another folder") from None
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return private, public


def signature_of(checksums: bytes, key_file: Path) -> bytes:
    """The contents of `signature.ed25519`. Raises ConfigError when `key_file` holds no such key."""
    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"signing.key: {key_file}: {_reason(error)}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"signing.key: {key_file} is not an Ed25519 key; `python -m archive keygen` makes one")
    return base64.b64encode(key.sign(checksums)) + b"\n"


def verify(archive: Archive, key_file: Path, *, required: bool) -> None:
    """Check the signature of a checked archive; without one it passes unless `required`.

    `key_file` holds one public key or several, one after the other: while keys are rotated, the old and the new.
    Raises ArchiveError for an archive that is unsigned or signed by somebody else, ConfigError for a key that is none.
    """
    keys = _public_keys(key_file)
    if archive.signature_sha256 is None:
        if required:
            raise ArchiveError(f"{archive.path}: is not signed, and signing.required asks for it")
        return
    written, checksums = archive.read(SIGNATURE), archive.read(CHECKSUMS)
    if not any(_is_by(key, written, checksums) for key in keys):
        raise ArchiveError(f"{archive.path}: its signature is not one of {key_file}")


def _is_by(key: Ed25519PublicKey, written: bytes, checksums: bytes) -> bool:
    try:
        key.verify(base64.b64decode(written.strip(), validate=True), checksums)
    except (InvalidSignature, binascii.Error):
        return False
    return True


def _public_keys(key_file: Path) -> list[Ed25519PublicKey]:
    try:
        content = key_file.read_bytes()
        # Without a block, the library says what it thinks of the content.
        keys = [serialization.load_pem_public_key(block) for block in _PEM.findall(content) or [content]]
    except (OSError, ValueError) as error:
        raise ConfigError(f"signing.public_key: {key_file}: {_reason(error)}") from None
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if len(found) < len(keys):
        raise ConfigError(f"signing.public_key: {key_file} is not an Ed25519 key")
    return found


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or "is not a PEM key without password"
