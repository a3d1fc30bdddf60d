"""What a checked archive is: its files, manifest, model card and golden answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

MANIFEST = "MAR-INF/MANIFEST.json"
CARD = "model.json"
GOLDEN = "golden.json"
CHECKSUMS = "checksums.sha256"
SIGNATURE = "signature.ed25519"
REGISTRATION = ("threads", "coalesce")
"""What a manifest may say of a registration beyond TorchServe's own parameters; each a whole number from 1."""


@dataclass(frozen=True)
class Entry:
    """One file of an archive: its path inside, its size in bytes and its sha256 in hex."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Archive:
    """A .mar whose structure and checksums hold.

    `sha256` covers the whole file; `content_sha256` covers `checksums.sha256` and with it every file but the
    manifest, so it stays the same when only the version is stamped anew.
    """

    path: Path
    size: int
    sha256: str
    content_sha256: str
    files: tuple[Entry, ...]
    manifest: dict[str, Any]
    card: dict[str, Any]
    golden: dict[str, Any]

    @property
    def signature_sha256(self) -> str | None:
        """The sha256 of its signature; None for an unsigned archive. The same key and content sign the same."""
        return next((file.sha256 for file in self.files if file.name == SIGNATURE), None)

    @property
    def model_name(self) -> str:
        """The name that TorchServe registers the model under, unless told another."""
        return str(self.manifest["model"]["modelName"])

    @property
    def version(self) -> str:
        """The version that TorchServe registers, from the manifest."""
        return str(self.manifest["model"]["modelVersion"])
