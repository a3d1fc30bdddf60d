"""Shows what an archive holds without running anything in it."""

import json
from pathlib import Path

from archive import Archive, open_archive
from archive.manifest import SIGNATURE, UNLISTED


def describe(path: Path, public_key: Path | None = None) -> str:
    """Provenance, signature, manifest, card, files with sizes and sha256, as text.

    Raises ArchiveError for a broken or unsafe archive, and where a signature is not one of `public_key`.
    """
    archive = open_archive(path)
    sections = [
        ("archive", _summary(archive, public_key)),
        ("provenance", _provenance(archive)),
        ("manifest", json.dumps(archive.manifest, indent=2, sort_keys=True)),
        ("model card", json.dumps(archive.card, indent=2, sort_keys=True, ensure_ascii=False)),
        ("golden answers", _golden(archive)),
        ("files", "\n".join(f"{file.size:>12,}  {file.sha256}  {file.name}" for file in archive.files)),
    ]
    return "\n\n".join(f"{title}\n{_indented(text)}" for title, text in sections)


def _summary(archive: Archive, public_key: Path | None) -> str:
    lines = {
        "file": str(archive.path),
        "size": f"{archive.size:,} bytes",
        "sha256": archive.sha256,
        "content sha256": f"{archive.content_sha256} (all but the version)",
        "checksums": f"{sum(file.name not in UNLISTED for file in archive.files)} files agree",
        "signature": _signature(archive, public_key),
        "answers as": str((archive.card.get("parity") or {}).get("reference", "not said")),
    }
    return _lines(lines)


def _signature(archive: Archive, public_key: Path | None) -> str:
    if all(file.name != SIGNATURE for file in archive.files):
        return "none"
    if public_key is None:
        return "Ed25519, not checked: give signing.public_key=FILE"
    # Imported here: who signs nothing needs no cryptography.
    from archive.signing import verify

    verify(archive, public_key, required=True)
    return f"Ed25519, made with the key of {public_key}"


def _provenance(archive: Archive) -> str:
    told = archive.card.get("provenance") or {}
    return _lines({str(name): "none" if value is None else str(value) for name, value in told.items()})


def _lines(lines: dict[str, str]) -> str:
    width = max((len(name) for name in lines), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


def _golden(archive: Archive) -> str:
    samples = archive.golden.get("samples", [])
    kinds = ", ".join(str(sample.get("content_type")) for sample in samples)
    return f"{len(samples)} requests ({kinds}), tolerance {archive.golden.get('tolerance')}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
