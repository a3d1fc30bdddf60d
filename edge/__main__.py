"""`python -m edge [overrides]` compiles, checks and serves a policy.

`export FOLDER [overrides]` writes the policy in Lua, compared as well, to where the edge's image reads it. `sync
[overrides]` brings a running edge to the version that serves; `follow ARCHIVE` is what a rollout starts for that,
with the settings on standard input.
"""

import logging
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import commands
import settings
from edge.build import build
from edge.follow import follow
from edge.reload import ask_golden, reload
from edge.site import Site, name_policy
from errors import EdgeError, MarinaError
from settings import Settings
from settings.load import ROOT

USAGE = """\
usage: python -m edge [COMMAND] [hydra overrides]

  served_model=NAME   compile the policy, check it against its handler and serve it
  sync                bring a running edge to the version that serves
  export FOLDER       write the policy for the edge's image
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        match list(arguments):
            case ["follow", archive]:
                loaded = Settings.model_validate_json(sys.stdin.read(), strict=True)
                reload(build(Path(archive), loaded), loaded)
            case ["export", folder, *overrides]:
                _export(Path(folder), overrides)
            case ["sync", *overrides]:
                _sync(overrides)
            case overrides:
                _serve(overrides)
    except MarinaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _serve(overrides: list[str]) -> None:
    loaded = settings.load(overrides)
    name = loaded.served_model.model_name
    archive = _archive(loaded)
    built = build(archive, loaded)
    if Site.of(loaded).master() is not None:
        reload(built, loaded)
    else:
        Site.of(loaded).write(built, loaded)
        done = subprocess.run([sys.executable, "-m", "stack", "edge", *overrides], cwd=ROOT, check=False)
        if done.returncode != 0:
            raise EdgeError("the edge did not start")
        ask_golden(built, loaded)
    print(f"{name} {built.version} answers on {loaded.edge.url}/models/{name}/predict and /predict")


def _export(folder: Path, overrides: list[str]) -> None:
    """A container over this folder takes the new version as soon as it stands there, without a reload."""
    loaded = settings.load([*overrides, "edge.compiler=none"])
    built = build(_archive(loaded), loaded)
    target = folder / built.path.name
    shutil.copytree(built.path, target, dirs_exist_ok=True)
    name_policy(folder / "policy", target.name)
    print(f"{built.model} {built.version} is in {target}")


def _sync(overrides: list[str]) -> None:
    """Bring a running edge to the version that serves, after a rollback; without one there is nothing to do."""
    loaded = settings.load(overrides)
    name = loaded.served_model.model_name
    if (serving := _serving(loaded)) is not None and follow(name, *serving, loaded):
        print(f"{name} {serving[0]} answers on {loaded.edge.url} as well")


def _serving(loaded: Settings) -> tuple[str, Path] | None:
    """Version and archive that a rollout made serve, None where the store keeps no file of it here."""
    from delivery.stores import open_store
    from deployments.serving import ServingRecord

    history = ServingRecord.of(loaded).get(loaded.served_model.model_name)
    path = open_store(loaded).path(history.serving.archive) if history else None
    return (history.serving.version, path) if history and path else None


def _archive(loaded: Settings) -> Path:
    """The archive that serves this model now, if a rollout made one serve; else the built one."""
    name = loaded.served_model.model_name
    serving = _serving(loaded)
    published = serving[1] if serving else None
    built = Path(loaded.paths.archives) / f"{name}.mar"
    if published is None and not built.is_file():
        raise EdgeError(f"no archive {built}; `make generate_mar MODEL={name}` builds it")
    return published or built


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
