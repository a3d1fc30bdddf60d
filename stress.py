"""Loads the running stack: `python stress.py served_model=digits stress.clients=8 stress.rounds=10`.

`python stress.py compare A.json B.json [page.html]` lays two reports side by side and says whether they differ.
Exit status: 0 when every request was answered rightly, 1 when anything failed, 130 after Ctrl-C.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Never

import uvloop
from tqdm import tqdm

import commands
from errors import MarinaError
from loadtest import compare
from loadtest.around import surroundings
from loadtest.document import document
from loadtest.files import Place
from loadtest.measure import Round
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.run import run
from loadtest.terminal import advice, footer, header, round_line
from settings import Settings, load
from settings.load import ROOT

USAGE = """\
usage: python stress.py [hydra overrides]
       python stress.py compare A.json B.json [page.html]

  put load on the running stack, or compare two reports

exit status: 0 when every answer was right, 1 when anything failed, 130 after Ctrl-C
"""


class Terminal:
    """Follows a run on the screen: figures on standard output, the progress bar on standard error."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._bar: tqdm[Never] | None = None

    def planned(self, plan: Plan) -> None:
        """Say what comes, and open the bar; it shows on a terminal only."""
        print(*header(plan), sep="\n", flush=True)
        self._plan = plan
        total = plan.rounds * plan.requests if plan.seconds is None else None
        self._bar = tqdm(total=total, unit="req", leave=False, disable=None)

    def answered(self) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update()

    def measured(self, one: Round) -> None:
        """Print the round's line above the bar."""
        if self._plan is not None:
            tqdm.write(round_line(one, self._plan), file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.close()


def main(arguments: Sequence[str]) -> int:
    """Run and print; returns the exit status."""
    if arguments and arguments[0] == "compare":
        return _compare(arguments[1:])
    terminal = Terminal()
    try:
        settings = load(arguments)
        place = Place.of(settings.stress, ROOT)
        report = _measure(settings, terminal)
    except MarinaError as error:
        terminal.close()
        print(f"stress: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        terminal.close()
        print("stress: interrupted before anything was measured", file=sys.stderr)
        return 130
    terminal.close()
    print(*footer(report), sep="\n")
    written = _write(report, place)
    print(*advice(report, arguments), sep="\n", end="\n" if not report.interrupted else "")
    if report.interrupted:
        return 130
    return 1 if report.failed or not written else 0


def _measure(settings: Settings, terminal: Terminal) -> Report:
    around = surroundings(settings)
    signal.signal(signal.SIGTERM, _interrupt)  # a run that is asked to end reports too
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(settings.stress, settings.served_model.model_name, terminal, around))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _write(report: Report, place: Place | None) -> bool:
    """Write the report and return True; print the error and return False when it cannot be written."""
    if place is None:
        return True
    try:
        paths = place.write(document(report), report.started)
    except (MarinaError, FileExistsError) as error:
        print(f"stress: {error}", file=sys.stderr)
        return False
    partial = " (partial: the run was interrupted)" if report.interrupted else ""
    print(f"Report: {paths[1]} and {paths[0].name}{partial}")
    return True


def _compare(arguments: Sequence[str]) -> int:
    try:
        if len(arguments) not in (2, 3):
            raise MarinaError("usage: python stress.py compare A.json B.json [page.html]")
        found = compare.of_files(Path(arguments[0]), Path(arguments[1]))
        print(*compare.lines(found), sep="\n")
        if len(arguments) == 3:
            print(f"Page: {compare.write_page(found, Path(arguments[2]))}")
    except MarinaError as error:
        print(f"stress: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, level=logging.WARNING))
