"""What the command lines of this room share."""

import logging
import signal
import sys
from collections.abc import Callable, Iterator
from types import FrameType
from typing import NoReturn

import settings
from errors import MarinaError
from settings import Settings


def run(main: Callable[[list[str]], int]) -> NoReturn:
    """Runs a command on sys.argv and exits with its status; an error of the kit becomes one line on stderr."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for room in ("serialize", "demo"):
        logging.getLogger(room).setLevel(logging.INFO)
    # TorchServe's handlers say at every import which accelerators they did not find.
    logging.getLogger("ts").setLevel(logging.ERROR)
    # A terminated build unwinds as an interrupted one does, so that it takes its folder with it.
    signal.signal(signal.SIGTERM, _terminate)
    try:
        status = main(sys.argv[1:])
    except MarinaError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status)


def each_model(overrides: list[str]) -> Iterator[Settings]:
    """The settings of every configured model, under the same overrides."""
    for name in settings.models():
        yield settings.load([f"served_model={name}", *overrides])


def _terminate(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
