"""`python -m edge [overrides]` compiles a policy, compares it with its handler and serves it.

`export FOLDER [overrides]` writes the compared policy as C to the folder that the edge's image reads. `follow MODEL
VERSION ARCHIVE`, with the settings on standard input, updates a running edge of that model to the version: the last
step of a rollout and of a rollback.
"""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import commands
import settings
from edge.nginx_server import EdgeServer, check_golden_answers
from errors import EdgeError, MarinaError
from files import write_atomic
from settings import Settings
from settings.load import ROOT

USAGE = """\
usage: python -m edge [COMMAND] [hydra overrides]

  served_model=NAME              compile the policy, compare it with its handler and serve it
  export FOLDER                  write the compared policy as C for the edge's image
  follow MODEL VERSION ARCHIVE   bring a running edge of MODEL to VERSION; reads the settings from standard input
"""


def main(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status."""
    match list(arguments):
        case ["follow", model, version, archive]:
            loaded = Settings.model_validate_json(sys.stdin.read(), strict=True)
            _follow(model, version, Path(archive), loaded)
        case ["export", folder, *overrides]:
            _export(Path(folder), overrides)
        case overrides:
            _serve(overrides)
    return 0


def _serve(overrides: list[str]) -> None:
    from edge.nginx_module import build_module

    loaded = settings.load(overrides)
    module = build_module(_archive(loaded), loaded)
    server = EdgeServer.of(loaded)
    if server.master() is not None:
        server.reload(module, loaded)
    else:
        server.configure(module, loaded)
        done = subprocess.run([sys.executable, "-m", "stack", "edge", *overrides], cwd=ROOT, check=False)
        if done.returncode != 0:
            raise EdgeError("the edge did not start")
        check_golden_answers(module, loaded)
    print(f"{module.model} {module.version} answers on {loaded.edge.url}/models/{module.model}/predict and /predict")


def _export(folder: Path, overrides: list[str]) -> None:
    from edge.nginx_module import verify_policy

    loaded = settings.load(overrides)
    verified = verify_policy(_archive(loaded), loaded)
    write_atomic(folder / "policy.h", verified.header)
    print(f"{verified.policy.model} {verified.policy.version} is in {folder / 'policy.h'}")


def _follow(model: str, version: str, archive: Path, loaded: Settings) -> None:
    """Do nothing when no edge runs, or it serves another model."""
    server = EdgeServer.of(loaded)
    serving = server.serving()
    if serving is None or serving["model"] != model or server.master() is None:
        return
    from edge.nginx_module import build_module

    try:
        server.reload(build_module(archive, loaded), loaded)
    except MarinaError as error:
        raise EdgeError(f"the edge still answers with {model} {serving['version']}, not {version}: {error}") from None
    print(f"{model} {version} answers on {loaded.edge.url} as well")


def _archive(loaded: Settings) -> Path:
    """Return the archive that serves this model; before its first rollout, the one that was built."""
    from delivery.stores import open_store
    from deployments.serving import ServingRecord

    name = loaded.served_model.model_name
    history = ServingRecord.of(loaded).get(name)
    published = open_store(loaded).path(history.serving.archive) if history else None
    built = Path(loaded.paths.archives) / f"{name}.mar"
    if published is None and not built.is_file():
        raise EdgeError(f"no archive {built}; `make generate_mar MODEL={name}` builds it")
    return published or built


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
