"""The part that every command line shares: `--help`, `--version`, `--cfg job`, errors of one line, interruption."""

import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

import files
import logs
from errors import MarinaError

VERSION = "0.1.0"
"""The version of the project; `pyproject.toml`, the OpenAPI document and the gRPC server read it from here."""

INTERRUPTED = 130
OUTPUT_CLOSED = 141
"""The exit status after `| head` has closed the pipe, as a shell reports it for SIGPIPE."""


def run(
    main: Callable[[list[str]], int],
    usage: str | None,
    *,
    overrides: Callable[[str], str] = str,
    registering: bool = False,
    unwind: str | None = None,
    level: int = logging.INFO,
    verbose: Sequence[str] = (),
) -> int:
    """Run a program on `sys.argv` and return its exit status; a MarinaError becomes one line on standard error.

    So does an error of the file system that users can mend, such as a full disk.

    A reader that closes standard output early, as `| head` does, ends the program quietly.
    `usage` is None when the program's own parser answers `--help`. `overrides` turns the program's short words into
    Hydra overrides. `unwind` is the text after an interruption for programs that clean up then; SIGTERM unwinds them as
    Ctrl-C does. `level` and `verbose` set how much is logged.
    """
    arguments = sys.argv[1:]
    logs.configure_command(level=level, verbose=verbose)
    try:
        status = standard_option(arguments, usage, overrides=overrides, registering=registering)
        if status is None:
            if unwind is not None:
                signal.signal(signal.SIGTERM, _exit)
            status = main(arguments)
        sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not _output_closed():
            raise
        return OUTPUT_CLOSED
    except (MarinaError, OSError) as error:
        sys.stderr.write(f"error: {_line(error)}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{unwind}\n" if unwind else "")
        return INTERRUPTED


def _line(error: MarinaError | OSError) -> str:
    """Return the line for the user; raise an OSError that users cannot mend."""
    line = files.explanation(error) if isinstance(error, OSError) else str(error)
    if line is None:
        raise error
    return line


def standard_option(
    arguments: Sequence[str],
    usage: str | None,
    *,
    overrides: Callable[[str], str] = str,
    registering: bool = False,
) -> int | None:
    """Answer `--help`, `--version` or `--cfg job` on standard output; return None when there is none of them."""
    if usage is not None and {"--help", "-h"} & set(arguments):
        sys.stdout.write(f"{usage.strip()}\n{STANDARD_OPTIONS}")
        return 0
    if "--version" in arguments:
        sys.stdout.write(f"marina {VERSION}\n")
        return 0
    if "--cfg" in arguments:
        return _print_settings(arguments, overrides, registering)
    return None


EPILOG = "Every program: --version prints the version of Marina, --cfg job prints the settings."
"""The same for a program with an argument parser, as its `epilog`."""

STANDARD_OPTIONS = """
  --help      print this text
  --version   print the version of Marina
  --cfg job   print the settings that the overrides give, as YAML, and do nothing else
"""


def _print_settings(arguments: Sequence[str], overrides: Callable[[str], str], registering: bool) -> int:
    where = arguments.index("--cfg")
    if list(arguments[where + 1 : where + 2]) != ["job"]:
        sys.stderr.write("error: --cfg prints one thing, the settings: write `--cfg job`\n")
        return 2
    # Imported here: the programs that read no settings start without Hydra.
    import yaml

    import settings

    given = [overrides(word) for word in (*arguments[:where], *arguments[where + 2 :])]
    loaded = settings.load(
        [word for word in given if "=" in word and not word.startswith("--")], registering=registering
    )
    sys.stdout.write(yaml.safe_dump(loaded.model_dump(mode="json"), sort_keys=False, allow_unicode=True))
    return 0


def _output_closed() -> bool:
    """Return True if standard output is a pipe without a reader, and let Python's own flush at exit succeed."""
    output = sys.stdout.fileno()
    poll = select.poll()
    poll.register(output, select.POLLOUT)
    if not any(events & select.POLLERR for _, events in poll.poll(0)):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


def _exit(number: int, frame: FrameType | None) -> None:
    sys.exit(128 + number)
