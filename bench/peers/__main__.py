"""`python -m bench.peers [--rounds 3] [--seconds 5] [--only NAME,...] [--write docs/performance.md] [overrides]`.

Marina beside what one would use instead: the same model, pictures and client; every server is started anew in each
round, its answers are checked before it counts, and the servers take turns. Prints Markdown tables. `overrides` are
settings for Marina's own model and stack. Peers that do not install or do not answer keep their row, with the reason.
"""

import argparse
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import commands
from bench import assets as made
from bench import document, machine, options, targets
from bench.assets import Assets
from bench.bare_workers import bare_workers
from bench.peers import environment, report
from bench.peers.measure import Contender, Inputs, Load, Measured, measure
from bench.peers.peer import LEVELS, PORTS, Level, Peer, Subject, discover
from bench.peers.report import BARE, BARE_WANTED, Burden, Entry
from bench.ports import free_ports
from bench.server import Failed
from bench.turns import turned
from errors import MarinaError

_log = logging.getLogger("bench.peers")

SECTION = "peers"
SUBJECTS: tuple[Subject, ...] = ("pictures", "states")
STATES = 128
# A shape is tried for this share of the time of a round.
TRIAL = 0.5


class Race:
    """All contenders of one subject and level, round by round."""

    def __init__(self, given: argparse.Namespace, folder: Path, assets: Assets, inputs: Inputs) -> None:
        self._given = given
        self._folder = folder
        self._assets = assets
        self._inputs = inputs
        self._port = free_ports(PORTS)

    def run(self, subject: Subject, level: Level, peers: Sequence[Peer]) -> list[Entry]:
        """Every peer in every round, each round in another order."""
        chosen = {}
        for peer in peers:
            entry = Entry(peer.title, subject, level, peer.wanted, peer)
            chosen[peer.title] = (entry, self._shaped(peer, level, entry))
        entries = [entry for entry, _ in chosen.values()]
        bare = Entry(BARE, subject, level, BARE_WANTED)
        for number in range(self._given.rounds):
            for entry, contender in turned(list(chosen.values()), number):
                if contender is not None and not entry.failed:
                    self._once(entry, contender, number)
            if subject == "pictures" and not bare.failed:
                self._bare(bare, level, number)
        return [*entries, bare] if subject == "pictures" else entries

    def _once(self, entry: Entry, contender: Contender, number: int) -> None:
        found = self._try(contender, self._given.seconds)
        if isinstance(found, str):
            entry.failed = found
        else:
            entry.rounds[number] = found
        told = found if isinstance(found, str) else f"{found.rate:.1f}/s, started in {found.cold_s:.1f} s"
        _log.info("round %d, %s, %s: %s", number + 1, contender.level, entry.title, told)

    def _shaped(self, peer: Peer, level: Level, entry: Entry) -> Contender | None:
        """The contender in its best shape: tried only where there is a choice."""
        contenders = [Contender(peer, level, workers, threads, self._port) for workers, threads in peer.shapes]
        if len(contenders) == 1:
            return contenders[0]
        rates: dict[Contender, float] = {}
        for contender in contenders:
            found = self._try(contender, max(1.0, self._given.seconds * TRIAL))
            if isinstance(found, str):
                entry.failed = found
                continue
            rates[contender] = found.rate
            _log.info("%s, %d x %d: %.1f/s", peer.title, contender.workers, contender.threads, found.rate)
        if not rates:
            return None
        best = max(rates, key=lambda each: rates[each])
        entry.failed, entry.shape = "", f"{best.workers} x {best.threads}"
        return best

    def _try(self, contender: Contender, seconds: float) -> Measured | str:
        clients = self._given.clients if contender.peer.subject == "pictures" else self._given.state_clients
        try:
            return measure(contender, self._assets, self._inputs, Load(seconds, clients))
        except subprocess.CalledProcessError as error:
            said = str(error.stderr or error).strip().splitlines()
            return said[-1][:200] if said else str(error)
        except (Failed, MarinaError, OSError) as error:
            return str(error)

    def _bare(self, entry: Entry, level: Level, number: int) -> None:
        try:
            pictures = self._assets.folder / "pictures"
            with bare_workers(self._assets.folder / level, pictures, made.WORKERS) as workers:
                rate = workers.rate("loop", self._given.seconds)
        except Failed as error:
            entry.failed = str(error)
            return
        entry.rounds[number] = Measured(rate, 0.0, 0.0, 0.0, 0.0)
        _log.info("round %d, %s, %s: %.1f/s", number + 1, level, entry.title, rate)


def main(arguments: Sequence[str]) -> int:
    """Print the tables; a ratio that is missed is a result and no failure."""
    given = _parse(arguments)
    document.check(given.write, SECTION)
    peers = [peer for peer in discover() if given.only is None or peer.folder in {"marina", *given.only}]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        text = _run(given, Path(folder), peers)
    measured = (
        f"{given.rounds} rounds of {given.seconds:g} s in turn, each server started anew, medians and (least to most); "
        f"{given.clients} clients for pictures, {given.state_clients} for states; "
        f"{(time.monotonic() - began) / 60:.0f} min"
    )
    text = f"{machine.heading(_command(arguments), measured)}\n\n{text}"
    print(text)
    document.write(given.write, SECTION, text)
    return 0


def _run(given: argparse.Namespace, folder: Path, peers: Sequence[Peer]) -> str:
    subjects = [subject for subject in SUBJECTS if subject in given.subjects]
    levels: tuple[Level, ...] = tuple(level for level in LEVELS if level in given.levels)
    assets = made.make(folder, given.overrides, levels)
    inputs = _inputs(folder, assets, with_states="states" in subjects)
    race = Race(given, folder, assets, inputs)
    parts, entries = [], []
    for subject in subjects:
        for level in [each for each in levels if subject == "pictures" or each == "exact"]:
            head = f"### {subject.capitalize()}" + (f", `decode: {level}`" if subject == "pictures" else "")
            if level not in assets.levels:
                parts.append(f"{head}\n\nNot measured: {assets.refused[level]}")
                continue
            found = race.run(subject, level, [p for p in peers if p.subject == subject and level in p.levels])
            entries += found if level == "exact" else []
            parts.append(f"{head}\n\n{report.table(found, found[0])}")
    if entries:
        parts.append(f"### What each costs besides\n\n{report.burdens(entries, _burdens(entries))}")
    return "\n\n".join(parts)


def _inputs(folder: Path, assets: Assets, *, with_states: bool) -> Inputs:
    pictures = made.variants(assets.pictures)
    if not with_states:
        return Inputs(pictures, (), ())
    made.make_policy(folder)
    states = targets.states()[:STATES]
    return Inputs(pictures, states, made.actions(folder, [sample.body for sample in states]))


def _burdens(entries: Sequence[Entry]) -> dict[str, Burden]:
    found = {}
    for entry in entries:
        if entry.peer is None or entry.title in found or not entry.rounds:
            continue
        names = environment.kit_packages() if entry.peer.folder == "marina" else environment.packages(entry.peer)
        size = environment.disk_mb(environment.python(entry.peer), names)
        found[entry.title] = Burden(size, environment.lines(entry.peer))
    return found


def _command(arguments: Sequence[str]) -> list[str]:
    return ["python", "-m", "bench.peers", *arguments]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    folders = {peer.folder: None for peer in discover()}
    parser = options.parser("bench.peers", SECTION, rounds=3, seconds=5.0)
    parser.add_argument("--clients", type=options.count, default=16, help="of pictures")
    parser.add_argument("--state-clients", type=options.count, default=64)
    parser.add_argument("--only", type=options.some_of(folders), help=f"{','.join(folders)}; marina is always there")
    parser.add_argument("--levels", type=options.some_of(LEVELS), default=list(LEVELS), help="of decoding: exact,fast")
    parser.add_argument("--subjects", type=options.some_of(SUBJECTS), default=list(SUBJECTS), help="pictures,states")
    parser.add_argument("overrides", nargs="*", help="of Marina's settings")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
