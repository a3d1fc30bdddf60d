"""Train the demo models, predict with them, and make Triton's sample models: `python -m demo`.

Training runs both models at once, each in a process with one thread: neither gains from a second core.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import commands
import settings
from errors import BuildError, ConfigError
from serialize.checkpoints import DEMO_CHECKPOINTS, ROOT, TRITON_CHECKPOINTS, checkpoint_path
from settings import Settings
from settings.schema import BuiltModel, VisionModel

USAGE = """\
usage: python -m demo COMMAND [hydra overrides]

  train [--force]   train the two demo models; --force trains them again
  predict           send one image and one state to the running gateway
  triton            write and build the sample models of Triton's client examples
"""

THREADS = {"OMP_NUM_THREADS": "1"}


def main(arguments: list[str]) -> int:
    """Train the demo models, predict with them, or make Triton's; return the exit status."""
    match arguments:
        case ["train", *rest]:
            return _train([word for word in rest if word != "--force"], force="--force" in rest)
        case ["train-one", name, *rest]:  # the process that `train` starts for each model
            print(train_one(name, settings.load([f"served_model={name}", *rest])))
        case ["predict", *rest]:
            from demo.predict import lines

            for line in lines(settings.load(rest)):
                print(line)
        case ["triton", *rest]:
            for composed in [settings.load([f"served_model={name}", *rest]) for name in TRITON_CHECKPOINTS]:
                print(_triton_model(composed))
        case _:
            raise ConfigError("usage: python -m demo train [--force] | predict | triton, then overrides")
    return 0


def missing(models: Mapping[str, Settings], force: bool) -> dict[str, Path]:
    """Return the checkpoints to make, by model: those that do not exist, or all with `force`."""
    paths = {name: checkpoint_path(composed.built_model, composed.paths) for name, composed in models.items()}
    return {name: path for name, path in paths.items() if force or not path.is_file()}


def train(names: list[str], overrides: list[str]) -> None:
    """Train the named models side by side; raises BuildError when one fails, after the others have finished."""
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
    """Train one model in this process and return a line with its result."""
    model = composed.built_model
    path = checkpoint_path(model, composed.paths)
    # Imported here: each training loads its own heavy libraries.
    if isinstance(model, VisionModel):
        from demo.train_digits import train_digits

        return f"{name}: {train_digits(model, path):.1%} of the unseen digits right, {path}"
    from demo.train_cartpole import train_cartpole

    return f"{name}: mean return {train_cartpole(path):.0f} of 500, {path}"


def _train(overrides: list[str], *, force: bool) -> int:
    composed = {name: settings.load([f"served_model={name}", *overrides]) for name in DEMO_CHECKPOINTS}
    todo = missing(composed, force)
    for name in composed:
        if name not in todo:
            print(f"{name}: is trained already; --force trains it again")
    if todo:
        train(list(todo), overrides)
    _write_images(composed["digits"].built_model)
    return 0


def _triton_model(composed: Settings) -> str:
    """Write one of Triton's sample models and build its archive; return a line with its path."""
    # Imported here: they take seconds, and training needs neither.
    from demo.triton_models import write_model
    from serialize.build import build

    model = composed.built_model
    write_model(model.model_name, checkpoint_path(model, composed.paths))
    return f"{model.model_name}: {build(composed).archive.path}"


def _write_images(model: BuiltModel) -> None:
    assert isinstance(model, VisionModel)
    folder = None if model.calibration.pictures is None else ROOT / model.calibration.pictures
    if folder is not None and not folder.is_dir():
        # Imported here: scikit-learn takes seconds, and the folder is missing only once.
        from demo.digits import write_images

        print(f"digits: {write_images(folder)} pictures for calibration in {folder}")


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, unwind="", level=logging.WARNING, verbose=("serialize", "demo")))
