"""Shows what an archive holds without running anything in it."""

import json
from pathlib import Path

from archive import Archive, open_archive


def describe(path: Path) -> str:
    """Manifest, card, files with sizes and sha256, as text. Raises ArchiveError for a broken or unsafe archive."""
    archive = open_archive(path)
    sections = [
        ("archive", _summary(archive)),
        ("manifest", json.dumps(archive.manifest, indent=2, sort_keys=True)),
        ("model card", json.dumps(archive.card, indent=2, sort_keys=True, ensure_ascii=False)),
        ("golden answers", _golden(archive)),
        ("files", "\n".join(f"{file.size:>12,}  {file.sha256}  {file.name}" for file in archive.files)),
    ]
    return "\n\n".join(f"{title}\n{_indented(text)}" for title, text in sections)


def _summary(archive: Archive) -> str:
    lines = {
        "file": str(archive.path),
        "size": f"{archive.size:,} bytes",
        "sha256": archive.sha256,
        "content sha256": f"{archive.content_sha256} (all but the version)",
        "checksums": f"{len(archive.files) - 2} files agree",
    }
    return "\n".join(f"{name:<15} {value}" for name, value in lines.items())


def _golden(archive: Archive) -> str:
    samples = archive.golden.get("samples", [])
    kinds = ", ".join(str(sample.get("content_type")) for sample in samples)
    return f"{len(samples)} requests ({kinds}), tolerance {archive.golden.get('tolerance')}"


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
