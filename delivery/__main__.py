"""`python -m delivery COMMAND [hydra overrides]`: archives, rollbacks, restores and checks from the command line.

The programs `keep` and `scale` run until they are stopped, and log JSON unless a terminal shows it.
"""

import contextlib
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import commands
import engines
import logs
import settings
from archive import TrustPolicy, open_trusted, stamped
from delivery import declare
from delivery.adopt_command import UsageError, adopt
from delivery.autoscaler import scale
from delivery.model_keeper import keep
from delivery.models_table import models_table
from delivery.publish import built_archive, stamped_copy
from delivery.rollout import RolloutResult, remove, restore_models, roll_back
from delivery.stores import open_store
from delivery.stores.nginx import FileBrowserStore
from delivery.stores.store import archive_file_name
from deployments.serving import ServingRecord
from deployments.traffic import TrafficFile
from errors import ConfigError, MarinaError
from settings.schema import NginxStoreSettings

USAGE = """\
usage: python -m delivery COMMAND [hydra overrides]

  adopt FILE SAMPLES [model=NAME] [golden=none] [trust=yes]
                   take an archive that another tool built: record its answers to the samples, write its settings
  adopt torchserve=URL [samples=FOLDER] [key_file=FILE] [model_store=FOLDER] [config=FILE] [model=NAME] [golden=none]
        [trust=yes]
                   take the archives that a running TorchServe serves, or that of one model; FOLDER has a folder of
                   samples for each model
  put FILE.mar     put an archive into the store
  rollback         return to the version before (served_model=NAME)
  remove           drain a model, and remove its versions, its archives and its record (served_model=NAME)
  models           list the registered versions
  restore          make every engine host serve what is recorded, once
  keep             run until stopped; restore whenever an engine has lost its models or missed a rollout
  scale            run until stopped; give models the workers that their queues need
  publish          put the built archive into the store under its own version, unregistered (served_model=NAME)
  declare NAMES    print Ray Serve's configuration for NAMES, such as digits-1.1,1.0: the first version answers
  doctor [--json]  list the open risks of the running deployment and the settings that close them; status 0: none
"""

UNATTENDED = {"keep", "scale"}
NEEDED = {"put": 1, "adopt": 1}
"""The words that a command needs at least."""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    command, *words = arguments or [""]
    run = COMMANDS.get(command)
    logs.configure_command(unattended=command in UNATTENDED)
    try:
        if run is None or len(words) < NEEDED.get(command, 0):
            raise UsageError
        return run(words)
    except UsageError:
        sys.stderr.write(USAGE)
        return 2
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _put(words: list[str]) -> int:
    file, loaded = Path(words[0]), settings.load(words[1:])
    archive = open_trusted(file, TrustPolicy.of(loaded))
    store = open_store(loaded)
    uploads = isinstance(loaded.store, NginxStoreSettings) and loaded.store.put_key_file is not None
    # An upload by HTTP never replaces a published file, so each version needs its own name.
    name = archive_file_name(archive.model_name, archive.version) if uploads else f"{archive.model_name}.mar"
    url = store.url(name).partition("?")[0]
    with stamped_copy(archive, archive.version, stamped(archive), loaded) as copy:
        stored = store.path(name)
        if stored is not None and stored.samefile(file) and copy.sha256 == archive.sha256:
            print(f"{name} is in the store already: {url}")
            return 0
        if uploads and isinstance(store, FileBrowserStore):
            store.upload(copy.path, name)
        else:
            store.put(copy.path, name)
    print(f"{name} ({copy.size} bytes, sha256 {copy.sha256}) is in the store: {url}")
    return 0


def _rollback(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    result = roll_back(loaded.served_model.model_name, loaded)
    print(f"{result.model} {result.version} serves again{result.remarks}")
    return 0


def _remove(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    remove(loaded.served_model.model_name, loaded)
    print(f"{loaded.served_model.model_name} is removed; no version serves")
    return 0


def _models(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    with contextlib.ExitStack() as opened:
        hosts = [opened.enter_context(engines.connect(loaded, node)) for node in loaded.engine.hosts]
        print(models_table(hosts, open_store(loaded), TrafficFile.of(loaded), datetime.now(UTC)))
    return 0


def _restore(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    outcomes = [outcome for _, outcome in restore_models(list(ServingRecord.of(loaded).all()), loaded)]
    for result in outcomes:
        if isinstance(result, RolloutResult):
            print(f"{result.model} {result.version} serves again{f' on {result.where}' if result.where else ''}")
    if not any(outcomes):
        print("everything that is recorded serves already")
    # Each error is in the log.
    return 1 if any(isinstance(outcome, MarinaError) for outcome in outcomes) else 0


def _scale(overrides: list[str]) -> int:
    loaded = settings.load(overrides)
    if not loaded.scaling.models:
        raise ConfigError("scaling.models is empty; name the models whose workers are to follow their load")
    scale(loaded, _stop_signal())
    return 0


def _keep(overrides: list[str]) -> int:
    keep(settings.load(overrides), _stop_signal())
    return 0


def _stop_signal() -> Event:
    """Return an event that SIGTERM sets, so that the process ends between two turns."""
    stop = Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    return stop


def _publish(overrides: list[str]) -> int:
    loaded = settings.load(overrides, registering=True)
    model, version = declare.publish_only(built_archive(loaded, overrides), loaded)
    url = open_store(loaded).url(archive_file_name(model, version))
    print(f"{model}-{version} is in the store: {url.partition('?')[0]}")
    return 0


def _declare(words: list[str]) -> int:
    names, overrides = [word for word in words if "=" not in word], [word for word in words if "=" in word]
    print(f"# python -m delivery declare {shlex.join(words)}\n{declare.declare(names, overrides)}", end="")
    return 0


def _doctor(words: list[str]) -> int:
    # Imported here, because only the doctor needs gRPC.
    from delivery.doctor import command

    report, status = command.run(words)
    print(report)
    return status


COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "adopt": adopt,
    "put": _put,
    "rollback": _rollback,
    "remove": _remove,
    "models": _models,
    "restore": _restore,
    "keep": _keep,
    "scale": _scale,
    "publish": _publish,
    "declare": _declare,
    "doctor": _doctor,
}

if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
