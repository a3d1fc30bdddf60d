"""`python -m serialize convert FILE trust=yes`: a checkpoint with pickled objects → safetensors beside it.

Unpickling runs whatever code the file holds, with the rights of the user. So it happens here only, on request, in a
process of its own without the secrets of this one's environment, and only tensors come back.
"""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from errors import BuildError, last_words
from files import replace_durably, staging_folder
from serialize import unpickle
from serialize.checkpoints import ROOT

USAGE = "usage: python -m serialize convert FILE trust=yes"
KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")


def convert(arguments: Sequence[str]) -> str:
    """Write FILE.safetensors and return what it holds, with the setting that serves it.

    Raises BuildError where `trust=yes` is missing, the target exists, or the file cannot be unpickled here.
    """
    trust = "trust=yes" in arguments
    rest = [argument for argument in arguments if argument != "trust=yes"]
    if len(rest) != 1:
        raise BuildError(USAGE)
    source = Path(rest[0])
    target = source.with_suffix(".safetensors")
    if not source.is_file():
        raise BuildError(f"{source}: no such file; {USAGE}")
    if not trust:
        raise BuildError(f"{source}: reading it runs code from it; say that you trust its author: {USAGE}")
    if target.exists():
        raise BuildError(f"{target} exists; remove or rename it first")
    with staging_folder(target.parent, target.stem) as folder:
        written = folder / "weights.safetensors"
        summary = json.loads(_unpickled(source, written))
        replace_durably(written, target)
    keys = "".join(f", the weights under {key} by served_model.checkpoint_prefix={key}." for key in summary["keys"])
    return f"{target}  {summary['tensors']} tensors; serve it with served_model.checkpoint={target}{keys}"


def _unpickled(source: Path, written: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if name in KEPT}
    # The class of a pickled module is imported from where the user is, as in the program that wrote it.
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(Path.cwd())])
    command = [sys.executable, "-W", "ignore", "-m", "serialize.unpickle", str(source.absolute()), str(written)]
    quiet: Any = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "check": False}
    done = subprocess.run(command, env=environment, **quiet)
    last: str = (done.stdout.strip().splitlines() or [""])[-1]
    match done.returncode:
        case 0:
            return last
        case unpickle.NO_WEIGHTS:
            raise BuildError(f"{source}: holds no state dict and no module, so there is nothing to serve")
        case unpickle.MISSING_PACKAGE:
            raise BuildError(
                f"{source}: holds objects of {last}, which is not installed here; install it and try again"
            )
        case _:
            raise BuildError(f"{source}: cannot be unpickled: {last_words(done.stderr, done.returncode)}")
