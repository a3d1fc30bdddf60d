"""Trains both demo models at once, a process with one thread each: neither gains from a second core."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from errors import BuildError
from serialize.checkpoints import ROOT, checkpoint_path
from settings import Settings

THREADS = {"OMP_NUM_THREADS": "1"}


def missing(models: Mapping[str, Settings], force: bool) -> dict[str, Path]:
    """Checkpoints to make, by model: those that are not there, or all with `force`."""
    places = {name: checkpoint_path(composed.served_model, composed.paths) for name, composed in models.items()}
    return {name: path for name, path in places.items() if force or not path.is_file()}


def train(names: list[str], overrides: list[str]) -> None:
    """Trains the named models side by side. Raises BuildError when one did not finish; the others still do."""
    environment = os.environ | THREADS
    command = [sys.executable, "-m", "demo", "train-one"]
    running = {name: subprocess.Popen([*command, name, *overrides], cwd=ROOT, env=environment) for name in names}
    try:
        failed = [name for name, process in running.items() if process.wait() != 0]
    finally:
        for process in running.values():
            process.terminate()
            process.wait()
    if failed:
        raise BuildError(f"not trained: {', '.join(failed)}")


def train_one(name: str, composed: Settings) -> str:
    """Trains one model in this process and returns what it reached, in words."""
    model = composed.served_model
    path = checkpoint_path(model, composed.paths)
    # Each training brings its own heavy libraries, which the other has no use for.
    if model.kind == "vision":
        from demo.digits_training import train_digits

        return f"{name}: {train_digits(model, path):.1%} of the unseen digits right, {path}"
    from demo.cartpole import train_cartpole

    return f"{name}: mean return {train_cartpole(path):.0f} of 500, {path}"
