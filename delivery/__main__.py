"""`python -m delivery put FILE.mar | rollback | models [overrides]`: into the store, back, what is registered."""

import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import settings
from delivery.management import Management
from delivery.rollout import roll_back
from delivery.stores import open_store
from delivery.table import models_table
from delivery.traffic import Splits
from delivery.trust import open_trusted
from errors import MarinaError

USAGE = "usage: python -m delivery put FILE.mar | rollback | models [hydra overrides]"


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        match list(arguments):
            case ["put", file, *overrides]:
                return _put(Path(file), overrides)
            case ["rollback", *overrides]:
                return _rollback(overrides)
            case ["models", *overrides]:
                return _models(overrides)
            case _:
                print(USAGE, file=sys.stderr)
                return 2
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _put(file: Path, overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    archive = open_trusted(file, loaded)
    store = open_store(loaded)
    name = f"{archive.model_name}.mar"
    place = store.url(name).partition("?")[0]
    if (stored := store.path(name)) is not None and stored.samefile(file):
        print(f"{name} is in the store already: {place}")
        return 0
    store.put(file, name)
    print(f"{name} ({archive.size} bytes, sha256 {archive.sha256}) is in the store: {place}")
    return 0


def _rollback(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    outcome = roll_back(loaded.served_model.model_name, loaded)
    print(f"{outcome.model} {outcome.version} serves again")
    return 0


def _models(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    with Management(loaded.engine) as engine:
        print(models_table(engine, open_store(loaded), Splits.of(loaded), datetime.now(UTC)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
