"""Download checkpoints: `python -m serialize.download`."""

import logging
import sys
import time

import commands
import settings
from errors import MarinaError
from serialize.checkpoints import checkpoint_path, fetch, is_url, remedy
from settings import Settings

USAGE = """\
usage: python -m serialize.download served_model=NAME [hydra overrides]

  served_model=NAME   download the model's checkpoint and verify it
  --all               download every checkpoint that is configured as a URL
"""


def main(arguments: list[str]) -> int:
    """Download the checkpoint of one model, or of all models whose checkpoint is a URL."""
    if "--all" not in arguments:
        return _download(settings.load(arguments))
    failures = 0
    for composed in settings.load_each([argument for argument in arguments if argument != "--all"]):
        try:
            _download(composed)
        except MarinaError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
    return min(failures, 1)


def _download(composed: Settings) -> int:
    model, paths = composed.built_model, composed.paths
    path = checkpoint_path(model, paths)
    if not is_url(model.checkpoint):
        advice = f"{path} is there" if path.is_file() else remedy(model, paths)
        print(f"{model.model_name}: its checkpoint is a file, nothing to download; {advice}")
        return 0
    fresh = fetch(model.checkpoint, path, model.sha256, time.sleep)
    print(f"{model.model_name}: {path} {'downloaded' if fresh else 'is there already'}")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, unwind="", level=logging.WARNING, verbose=("serialize",)))
