"""Loads the running stack: `python stress.py served_model=digits stress.clients=8 stress.rounds=10`.

Exit status: 0 when every request was answered rightly, 1 when anything failed, 130 after Ctrl-C.
"""

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Never

import uvloop
from tqdm import tqdm

from errors import MarinaError
from loadtest.document import check_writable, write
from loadtest.measure import Round
from loadtest.plan import Plan
from loadtest.report import Report
from loadtest.run import run
from loadtest.terminal import footer, header, round_line
from settings import Settings, load


class Terminal:
    """Follows a run on the screen: figures on standard output, the progress bar on standard error."""

    def __init__(self) -> None:
        self._plan: Plan | None = None
        self._bar: tqdm[Never] | None = None

    def planned(self, plan: Plan) -> None:
        """Say what comes, and open the bar; it shows on a terminal only."""
        print(*header(plan), sep="\n", flush=True)
        self._plan = plan
        self._bar = tqdm(total=plan.rounds * plan.requests, unit="req", leave=False, disable=None)

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
    terminal = Terminal()
    try:
        settings = load(arguments)
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
    print(*footer(report, arguments), sep="\n")
    if settings.stress.report is not None:
        write(report, Path(settings.stress.report))
    if report.interrupted:
        return 130
    return 1 if report.failed else 0


def _measure(settings: Settings, terminal: Terminal) -> Report:
    if settings.stress.report is not None:
        check_writable(Path(settings.stress.report))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run(settings.stress, settings.served_model.model_name, terminal))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
