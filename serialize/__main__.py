"""Build archives from checkpoints: `python -m serialize`."""

import logging
import sys
from pathlib import Path

import commands
import settings
from errors import ArchiveError, MarinaError, WeightsMissing
from settings import Settings

PUBLIC_KEY = "signing.public_key="
USAGE = f"""\
usage: python -m serialize served_model=NAME [hydra overrides]

  served_model=NAME   build model_mars/NAME.mar from the model's checkpoint
  --all               build every model whose checkpoint is there
  inspect FILE.mar [{PUBLIC_KEY}FILE]
                      print what an archive holds, and check its signature
"""


def main(arguments: list[str]) -> int:
    """Build one archive, or all whose weights are there, or describe one; return the exit status."""
    if arguments[:1] == ["inspect"]:
        return _inspect(arguments[1:])
    if "--all" in arguments:
        return _build_all([argument for argument in arguments if argument != "--all"])
    _build(settings.load(arguments))
    return 0


def _inspect(arguments: list[str]) -> int:
    from serialize.inspect import describe

    match arguments:
        case [file]:
            print(describe(Path(file)))
        case [file, key] if key.startswith(PUBLIC_KEY):
            print(describe(Path(file), Path(key.removeprefix(PUBLIC_KEY))))
        case _:
            raise ArchiveError(f"usage: python -m serialize inspect FILE.mar [{PUBLIC_KEY}FILE]")
    return 0


def _build(composed: Settings) -> None:
    from serialize.build import build

    built = build(composed)
    archive, parity = built.archive, built.parity
    key = archive.card["provenance"]["checkpoint_key"]
    made = f"{archive.card['artifact']['format']}, {archive.card['weights']} weights" + (f" of {key}" if key else "")
    print(
        f"{archive.path}  {archive.size:,} bytes  sha256 {archive.sha256}  {made}  "
        f"parity over {parity.requests} requests: output {parity.output:.1e}, answer {parity.answer:.1e}, "
        f"limit {parity.tolerance:g}{f'; {built.library}' if built.library else ''}"
    )


def _build_all(overrides: list[str]) -> int:
    waiting: list[str] = []
    broken: list[str] = []
    for composed in settings.load_each(overrides):
        try:
            _build(composed)
        except WeightsMissing as error:
            waiting.append(str(error))
        except MarinaError as error:
            broken.append(str(error))
    for words in waiting:
        print(f"not built: {words}", file=sys.stderr)
    for words in broken:
        print(f"error: {words}", file=sys.stderr)
    return 1 if waiting or broken else 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, unwind="", level=logging.WARNING, verbose=("serialize",)))
