"""`python -m serialize.download served_model=NAME [overrides...]`, or `--all [overrides...]`."""

import sys
import time

import settings
from errors import MarinaError
from serialize.checkpoints import is_url, place, remedy
from serialize.cli import each_model, run
from serialize.download.fetch import fetch
from settings import Settings


def main(arguments: list[str]) -> int:
    """Downloads the checkpoint of one model, or of all that have one to download."""
    if "--all" not in arguments:
        return _download(settings.load(arguments))
    failures = 0
    for composed in each_model([argument for argument in arguments if argument != "--all"]):
        try:
            _download(composed)
        except MarinaError as error:
            print(f"error: {error}", file=sys.stderr)
            failures += 1
    return min(failures, 1)


def _download(composed: Settings) -> int:
    model = composed.served_model
    path = place(model, composed.paths)
    if not is_url(model.checkpoint):
        there = path.is_file()
        words = f"{path} is there" if there else remedy(model, path)
        print(f"{model.model_name}: its checkpoint is a file, nothing to download; {words}")
        return 0
    fresh = fetch(model.checkpoint, path, model.sha256, time.sleep)
    print(f"{model.model_name}: {path} {'downloaded' if fresh else 'is there already'}")
    return 0


if __name__ == "__main__":
    run(main)
