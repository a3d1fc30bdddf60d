"""Build archives from checkpoints: `python -m serialize`."""

import json
import logging
import sys
import textwrap
from pathlib import Path

import commands
import settings
from archive import Archive, open_archive
from archive.manifest import SIGNATURE, UNLISTED
from errors import ArchiveError, MarinaError, WeightsMissing
from settings import Settings

PUBLIC_KEY = "signing.public_key="
USAGE = f"""\
usage: python -m serialize served_model=NAME [hydra overrides]

  served_model=NAME   build model_mars/NAME.mar from the model's checkpoint
  --all               build every model whose checkpoint is there
  inspect FILE.mar [{PUBLIC_KEY}FILE]
                      print what an archive holds, and check its signature
  convert FILE trust=yes
                      unpickle a checkpoint, which runs code from it, in a process of its own, and write its tensors
                      into a file of safetensors beside it
"""


def main(arguments: list[str]) -> int:
    """Build one archive, or all whose weights exist, or describe one; return the exit status."""
    if arguments[:1] == ["inspect"]:
        return _inspect(arguments[1:])
    if arguments[:1] == ["convert"]:
        # Imported here: only this command needs it.
        from serialize.convert import convert

        print(convert(arguments[1:]))
        return 0
    if "--all" in arguments:
        return _build_all([argument for argument in arguments if argument != "--all"])
    _build(settings.load(arguments))
    return 0


def _inspect(arguments: list[str]) -> int:
    match arguments:
        case [file]:
            print(describe_archive(Path(file)))
        case [file, key] if key.startswith(PUBLIC_KEY):
            print(describe_archive(Path(file), Path(key.removeprefix(PUBLIC_KEY))))
        case _:
            raise ArchiveError(f"usage: python -m serialize inspect FILE.mar [{PUBLIC_KEY}FILE]")
    return 0


def _build(composed: Settings) -> None:
    # Imported here: torch takes seconds, and `inspect` does not need it.
    from serialize.build import build

    built = build(composed)
    archive, parity = built.archive, built.parity
    key = archive.card["provenance"]["checkpoint_key"]
    made = f"{archive.card['artifact']['format']}, {archive.card['weights']} weights" + (f" of {key}" if key else "")
    print(
        f"{archive.path}  {archive.size:,} bytes  sha256 {archive.sha256}  {made}  "
        f"parity over {parity.requests} requests: output {parity.output:.1e}, answer {parity.answer:.1e}, "
        f"limit {parity.tolerance:g}{f'; {built.library}' if built.library else ''}"
        f"{f'; {built.replaced}' if built.replaced else ''}"
    )


def _build_all(overrides: list[str]) -> int:
    missing: list[str] = []
    failed: list[str] = []
    for composed in settings.load_each(overrides):
        try:
            _build(composed)
        except WeightsMissing as error:
            missing.append(str(error))
        except MarinaError as error:
            failed.append(str(error))
    for message in missing:
        print(f"not built: {message}", file=sys.stderr)
    for message in failed:
        print(f"error: {message}", file=sys.stderr)
    return 1 if missing or failed else 0


def describe_archive(path: Path, public_key: Path | None = None) -> str:
    """Return provenance, signature, manifest, card, and files with sizes and sha256, as text.

    Runs nothing of the archive. Raises ArchiveError for a broken or unsafe archive, and for a signature that does not
    match `public_key`.
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
    return "\n\n".join(f"{title}\n{textwrap.indent(text, '  ')}" for title, text in sections)


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
    return _aligned(lines)


def _signature(archive: Archive, public_key: Path | None) -> str:
    if all(file.name != SIGNATURE for file in archive.files):
        return "none"
    if public_key is None:
        return "Ed25519, not checked: give signing.public_key=FILE"
    # Imported here: only signatures need cryptography.
    from archive.signing import verify

    verify(archive, public_key, required=True)
    return f"Ed25519, made with the key of {public_key}"


def _provenance(archive: Archive) -> str:
    provenance = archive.card.get("provenance") or {}
    return _aligned({str(name): "none" if value is None else str(value) for name, value in provenance.items()})


def _golden(archive: Archive) -> str:
    samples = archive.golden.get("samples", [])
    kinds = ", ".join(str(sample.get("content_type")) for sample in samples)
    return f"{len(samples)} requests ({kinds}), tolerance {archive.golden.get('tolerance')}"


def _aligned(lines: dict[str, str]) -> str:
    width = max((len(name) for name in lines), default=0)
    return "\n".join(f"{name:<{width}}  {value}" for name, value in lines.items())


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, unwind="", level=logging.WARNING, verbose=("serialize",)))
