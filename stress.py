"""Put load on the running stack: `python stress.py served_model=digits stress.clients=8 stress.rounds=10`.

`python stress.py compare A.json B.json [page.html]` compares two reports.
Exit status: 0 when every answer was right, 1 when anything failed, 130 after Ctrl-C.
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
from loadtest.compare import compare_files, comparison_lines, write_page
from loadtest.plan import LoadPlan
from loadtest.report import LoadReport
from loadtest.report_files import ReportFiles, report_document
from loadtest.rounds import RoundResult
from loadtest.run import run, stack_info
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
    """The screen of a run: figures on standard output, the progress bar on standard error."""

    def __init__(self) -> None:
        self._plan: LoadPlan | None = None
        self._bar: tqdm[Never] | None = None

    def planned(self, plan: LoadPlan) -> None:
        """Print the plan and open the bar, which shows on a terminal only."""
        print(*header(plan), sep="\n", flush=True)
        self._plan = plan
        total = plan.stress.rounds * plan.stress.requests if plan.stress.seconds is None else None
        self._bar = tqdm(total=total, unit="req", leave=False, disable=None)

    def answered(self) -> None:
        """Advance the bar by one request."""
        if self._bar is not None:
            self._bar.update()

    def measured(self, one: RoundResult) -> None:
        """Print the line of the round above the bar."""
        if self._plan is not None:
            tqdm.write(round_line(one, self._plan), file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Remove the progress bar."""
        if self._bar is not None:
            self._bar.close()


def main(arguments: Sequence[str]) -> int:
    """Run the load test, print its figures, and return the exit status."""
    if arguments and arguments[0] == "compare":
        return _compare(arguments[1:])
    terminal = Terminal()
    try:
        settings = load(arguments)
        files = ReportFiles.of(settings.stress, ROOT)
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
    written = _write(report, files)
    print(*advice(report, arguments), sep="\n", end="\n" if not report.interrupted else "")
    if report.interrupted:
        return 130
    return 1 if report.failed or not written else 0


def _measure(settings: Settings, terminal: Terminal) -> LoadReport:
    signal.signal(signal.SIGTERM, _interrupt)  # a terminated run writes its report too
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(settings.stress, settings.served_model.model_name, terminal, stack_info(settings)))


def _interrupt(signum: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


def _write(report: LoadReport, files: ReportFiles | None) -> bool:
    """Write the report and return True; print the error and return False when it cannot be written."""
    if files is None:
        return True
    try:
        paths = files.write(report_document(report), report.started)
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
        found = compare_files(Path(arguments[0]), Path(arguments[1]))
        print(*comparison_lines(found), sep="\n")
        if len(arguments) == 3:
            print(f"Page: {write_page(found, Path(arguments[2]))}")
    except MarinaError as error:
        print(f"stress: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE, level=logging.WARNING))
