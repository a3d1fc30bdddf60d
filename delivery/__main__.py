"""`python -m delivery put FILE.mar | rollback | models | restore | keep | scale | doctor | publish | declare NAMES`.

`put` brings an archive into the store, `rollback` the version before to serve, `models` shows what is registered,
`restore` brings every engine host back to what is recorded as serving, once; `keep` stays and does that whenever an
engine has come back without it. `scale` stays, too, and gives models the workers that their queues ask for. `doctor`
says what is open on the running deployment (`--json` for programs). `publish` and `declare` are for models that are
declared to Ray Serve instead of rolled out. Each takes overrides.
"""

import contextlib
import shlex
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import commands
import engines
import logs
import settings
from archive import TrustPolicy, open_trusted, stamped
from delivery.declare import declare, publish
from delivery.keep import keep
from delivery.published import rewritten
from delivery.rollout import restore, roll_back
from delivery.scale import scale
from delivery.stores import open_store
from delivery.stores.base import file_name
from delivery.stores.nginx import FileBrowser
from delivery.table import models_table
from deployments.traffic import TrafficFile
from errors import ConfigError, MarinaError
from settings.schema import NginxStore

USAGE = """\
usage: python -m delivery COMMAND [hydra overrides]

  put FILE.mar     bring an archive into the store
  rollback         the version before serves again (served_model=NAME)
  models           what is registered
  restore          bring every engine host back to what is recorded as serving, once
  keep             stay, and restore whenever TorchServe has come back without its models or was away in a rollout
  scale            stay, and give models the workers that their queues ask for
  publish          the built archive into the store under a version of its own, registered nowhere (served_model=NAME)
  declare NAMES    Ray Serve's configuration for NAMES, such as digits-1.1,1.0: the first version answers
  doctor [--json]  what is open on the running deployment, and the setting that closes it; exit status 0: nothing
"""

LASTING = {"keep", "scale"}


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    logs.configure_command(unattended=bool(arguments) and arguments[0] in LASTING)
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
            case ["scale" | "keep" | "doctor" | "publish" | "declare" as word, *words]:
                commands = {
                    "scale": _scale,
                    "keep": _keep,
                    "doctor": _doctor,
                    "publish": _publish,
                    "declare": _declare,
                }
                return commands[word](words)
            case _:
                sys.stderr.write(USAGE)
                return 2
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _put(file: Path, overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    archive = open_trusted(file, TrustPolicy.of(loaded))
    store = open_store(loaded)
    uploads = isinstance(loaded.store, NginxStore) and loaded.store.put_key_file is not None
    # By HTTP nothing that is published is replaced, so each version has its own name.
    name = file_name(archive.model_name, archive.version) if uploads else f"{archive.model_name}.mar"
    place = store.url(name).partition("?")[0]
    with rewritten(archive, archive.version, stamped(archive), loaded) as copy:
        stored = store.path(name)
        if stored is not None and stored.samefile(file) and copy.sha256 == archive.sha256:
            print(f"{name} is in the store already: {place}")
            return 0
        if uploads and isinstance(store, FileBrowser):
            store.upload(copy.path, name)
        else:
            store.put(copy.path, name)
    print(f"{name} ({copy.size} bytes, sha256 {copy.sha256}) is in the store: {place}")
    return 0


def _rollback(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    outcome = roll_back(loaded.served_model.model_name, loaded)
    print(f"{outcome.model} {outcome.version} serves again{outcome.remarks}")
    return 0


def _models(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    with contextlib.ExitStack() as opened:
        hosts = [opened.enter_context(engines.connect(loaded, node)) for node in loaded.engine.hosts]
        print(models_table(hosts, open_store(loaded), TrafficFile.of(loaded), datetime.now(UTC)))
    return 0


def _restore(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    outcomes = restore(loaded)
    for outcome in outcomes:
        print(f"{outcome.model} {outcome.version} serves again{f' on {outcome.where}' if outcome.where else ''}")
    if not outcomes:
        print("everything that is recorded serves already")
    return 0


def _scale(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    if not loaded.scaling.models:
        raise ConfigError("scaling.models is empty; name the models whose workers are to follow their load")
    scale(loaded, _asked_to_stop())
    return 0


def _keep(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    keep(loaded, _asked_to_stop())
    return 0


def _asked_to_stop() -> Event:
    """Set when the process is asked to end, which it then does between two turns."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


def _publish(overrides: list[str]) -> int:
    loaded = settings.load(overrides, registering=True)
    model, version = publish(loaded)
    print(f"{model}-{version} is in the store: {open_store(loaded).url(file_name(model, version)).partition('?')[0]}")
    return 0


def _declare(arguments: list[str]) -> int:
    names = [word for word in arguments if "=" not in word]
    written = declare(names, [word for word in arguments if "=" in word])
    print(f"# python -m delivery declare {shlex.join(arguments)}\n{written}", end="")
    return 0


def _doctor(arguments: list[str]) -> int:
    # Imported here: nothing else asks what the doctor asks, over gRPC among others.
    from delivery.doctor import command

    words, status = command.run(arguments)
    print(words)
    return status


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
