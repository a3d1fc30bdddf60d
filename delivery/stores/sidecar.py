"""What the file browser's page tells of an archive without opening it: a JSON file of the same name beside it."""

import json
from pathlib import Path

from archive import open_archive
from archive.manifest import SIGNATURE
from delivery.stores.base import VERSIONED
from files import explained, replace_durably, staging_folder


def sidecar_name(name: str) -> str | None:
    """`digits-1.0.json` for `digits-1.0.mar`; None for an archive without a version, which may be built anew."""
    return f"{name.removesuffix('.mar')}.json" if VERSIONED.fullmatch(name) else None


def write_sidecar(folder: Path, name: str) -> None:
    """Describe the published archive `folder/name`: version, checksums and model card.

    Raises ArchiveError, and StoreError when it cannot be written.
    """
    beside = sidecar_name(name)
    if beside is None:
        return
    archive = open_archive(folder / name)
    described = {
        "name": name,
        "model_name": archive.model_name,
        "version": archive.version,
        "size": archive.size,
        "sha256": archive.sha256,
        "signed": any(file.name == SIGNATURE for file in archive.files),
        "card": archive.card,
    }
    with explained(folder / beside), staging_folder(folder, beside) as work:
        draft = work / beside
        draft.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n")
        draft.chmod(0o644)
        replace_durably(draft, folder / beside)
