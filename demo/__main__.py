"""Train the demo models, and predict with them: `python -m demo`."""

import logging
import sys

import commands
import settings
from errors import ConfigError
from serialize.checkpoints import DEMO_CHECKPOINTS, ROOT
from settings.schema import PolicyModel, VisionModel

USAGE = """\
usage: python -m demo COMMAND [hydra overrides]

  train [--force]   train the two demo models; --force trains them again
  predict           send one image and one state to the running gateway
"""


def main(arguments: list[str]) -> int:
    """Train the demo models, or predict with them; return the exit status."""
    match arguments:
        case ["train", *rest]:
            return _train([word for word in rest if word != "--force"], force="--force" in rest)
        case ["train-one", name, *rest]:  # what `train` starts for each
            from demo.train import train_one

            print(train_one(name, settings.load([f"served_model={name}", *rest])))
        case ["predict", *rest]:
            from demo.predict import lines

            for line in lines(settings.load(rest)):
                print(line)
        case _:
            raise ConfigError("usage: python -m demo train [--force] | predict, then overrides")
    return 0


def _train(overrides: list[str], *, force: bool) -> int:
    from demo.train import missing, train

    composed = {name: settings.load([f"served_model={name}", *overrides]) for name in DEMO_CHECKPOINTS}
    todo = missing(composed, force)
    for name in composed:
        if name not in todo:
            print(f"{name}: is trained already; --force trains it again")
    if todo:
        train(list(todo), overrides)
    return _write_pictures(composed["digits"].served_model)


def _write_pictures(model: VisionModel | PolicyModel) -> int:
    assert isinstance(model, VisionModel)
    folder = None if model.calibration.pictures is None else ROOT / model.calibration.pictures
    if folder is not None and not folder.is_dir():
        # Imported here: scikit-learn takes seconds, and the folder is there but for the first time.
        from demo.digits_pictures import write_pictures

        print(f"digits: {write_pictures(folder)} pictures for calibration in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, unwind="", level=logging.WARNING, verbose=("serialize", "demo")))
