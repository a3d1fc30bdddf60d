"""`python -m delivery put FILE.mar | rollback | models | restore | follow [overrides]`: what changes and what is there.

`put` brings an archive into the store, `rollback` the version before to serve, `models` shows what is registered,
`restore` brings every engine host to what is recorded as serving, and `follow` does that for ever.
"""

import contextlib
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import settings
from delivery.follow import follow
from delivery.management import Management
from delivery.rollout import restore, roll_back
from delivery.stores import open_store
from delivery.table import models_table
from delivery.trust import open_trusted
from errors import ConfigError, MarinaError

USAGE = "usage: python -m delivery put FILE.mar | rollback | models | restore | follow [hydra overrides]"


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
            case ["restore", *overrides]:
                return _restore(overrides)
            case ["follow", *overrides]:
                return _follow(overrides)
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
    print(f"{outcome.model} {outcome.version} serves again{f' ({outcome.where})' if outcome.where else ''}")
    return 0


def _models(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    with contextlib.ExitStack() as opened:
        engines = [opened.enter_context(Management(loaded.engine, node)) for node in loaded.engine.hosts]
        print(models_table(engines, open_store(loaded), datetime.now(UTC)))
    return 0


def _restore(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    outcomes = restore(loaded)
    for outcome in outcomes:
        print(f"{outcome.model} {outcome.version} serves again{f' on {outcome.where}' if outcome.where else ''}")
    if not outcomes:
        print("everything that is recorded serves already")
    return 0


def _follow(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    if not loaded.engine.nodes:
        raise ConfigError("engine.nodes is empty; a single engine is restored by `make up`")
    follow(loaded)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
