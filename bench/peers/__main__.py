"""`python -m bench.peers [--rounds 3] [--seconds 5] [--only NAME,...] [--write docs/performance.md] [overrides]`.

Marina beside its alternatives, with the same model, pictures and client. Every server is started anew in each round,
its answers are checked before it counts, and the servers take turns. Prints Markdown tables. `overrides` are settings
of Marina's own model and stack. Peers that do not install or do not answer keep their row, with the reason.
"""

import argparse
import logging
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench import assets as made
from bench import document, options, samples
from bench.assets import LEVELS, Assets, Level
from bench.driver import turned
from bench.local_stack import free_ports
from bench.peers import comparison, packages
from bench.peers.comparison import BARE, BARE_WANTED, Entry, Footprint
from bench.peers.contest import Contender, Inputs, Measured, measure
from bench.peers.launch import PORTS
from bench.peers.table import PEERS, Peer, Subject, folders
from bench.server_process import MeasurementError
from bench.worker_process import bare_workers
from errors import MarinaError

_log = logging.getLogger("bench.peers")

SECTION = "peers"
SUBJECTS: tuple[Subject, ...] = ("pictures", "states")
STATES = 128
# The trial of one shape takes this share of a round's time.
TRIAL = 0.5


class Race:
    """All contenders of one subject and level, round by round."""

    def __init__(self, given: argparse.Namespace, assets: Assets, inputs: Inputs) -> None:
        self._given = given
        self._assets = assets
        self._inputs = inputs
        self._port = free_ports(PORTS)[0]

    def run(self, subject: Subject, level: Level, peers: Sequence[Peer]) -> list[Entry]:
        """Measure every peer in every round, each round in another order."""
        chosen = {}
        for peer in peers:
            entry = Entry(peer.title, peer.wanted, peer)
            chosen[peer.title] = (entry, self._shaped(peer, level, entry))
        entries = [entry for entry, _ in chosen.values()]
        bare = Entry(BARE, BARE_WANTED)
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
            entry.failed = result = found
        else:
            entry.rounds[number] = found
            result = f"{found.rate:.1f}/s, started in {found.cold_s:.1f} s"
        _log.info("round %d, %s, %s: %s", number + 1, contender.level, entry.title, result)

    def _shaped(self, peer: Peer, level: Level, entry: Entry) -> Contender | None:
        """Return the contender in its best shape; several shapes are tried first."""
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
            return measure(contender, self._assets, self._inputs, clients, seconds)
        except subprocess.CalledProcessError as error:
            lines = str(error.stderr or error).strip().splitlines()
            return lines[-1][:200] if lines else str(error)
        except (MarinaError, OSError) as error:
            return str(error)

    def _bare(self, entry: Entry, level: Level, number: int) -> None:
        folder = self._assets.folder
        try:
            with bare_workers(folder / level, folder / "pictures", made.WORKERS) as workers:
                rate = workers.rate("loop", self._given.seconds)
        except MeasurementError as error:
            entry.failed = str(error)
            return
        entry.rounds[number] = Measured(rate)
        _log.info("round %d, %s, %s: %.1f/s", number + 1, level, entry.title, rate)


def main(arguments: Sequence[str]) -> int:
    """Print the tables; a missed ratio is a result and no failure."""
    given = _parse(arguments)
    peers = [peer for peer in PEERS if given.only is None or peer.folder in {"marina", *given.only}]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        tables = _tables(given, Path(folder), peers)
    measured = (
        f"{given.rounds} rounds of {given.seconds:g} s in turn, each server started anew, medians and (least to most); "
        f"{given.clients} clients for pictures, {given.state_clients} for states; "
        f"{(time.monotonic() - began) / 60:.0f} min"
    )
    heading = document.heading("bench.peers", arguments, measured)
    document.publish(given.write, SECTION, "\n\n".join((heading, *tables)))
    return 0


def _tables(given: argparse.Namespace, folder: Path, peers: Sequence[Peer]) -> list[str]:
    subjects = [subject for subject in SUBJECTS if subject in given.subjects]
    levels: tuple[Level, ...] = tuple(level for level in LEVELS if level in given.levels)
    assets = made.build_assets(folder, given.overrides, levels)
    race = Race(given, assets, _inputs(folder, assets, with_states="states" in subjects))
    parts, entries = [], []
    for subject in subjects:
        for level in [each for each in levels if subject == "pictures" or each == "exact"]:
            head = f"### {subject.capitalize()}" + (f", `decode: {level}`" if subject == "pictures" else "")
            if level not in assets.levels:
                parts.append(f"{head}\n\nNot measured: {assets.refused[level]}")
                continue
            found = race.run(subject, level, [p for p in peers if p.subject == subject and level in p.levels])
            entries += found if level == "exact" else []
            parts.append(f"{head}\n\n{comparison.rates_table(found, found[0])}")
    if entries:
        footprints = comparison.footprint_table(entries, _footprints(entries))
        parts.append(f"### Memory, start, size on disk and lines\n\n{footprints}")
    return parts


def _inputs(folder: Path, assets: Assets, *, with_states: bool) -> Inputs:
    if not with_states:
        return Inputs(assets.variants())
    made.build_policy(folder)
    states = samples.states()[:STATES]
    return Inputs(assets.variants(), states, made.right_actions(folder, [sample.body for sample in states]))


def _footprints(entries: Sequence[Entry]) -> dict[str, Footprint]:
    found: dict[str, Footprint] = {}
    for entry in entries:
        if entry.peer is not None and entry.title not in found and entry.rounds:
            found[entry.title] = Footprint(packages.disk_mb(entry.peer), packages.lines(entry.peer))
    return found


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = options.parser("bench.peers", SECTION, rounds=3, seconds=5.0, overrides="of Marina's settings")
    parser.add_argument("--clients", type=options.count, default=16, help="of pictures")
    parser.add_argument("--state-clients", type=options.count, default=64)
    named = f"{','.join(folders())}; marina is always there"
    parser.add_argument("--only", type=options.some_of(folders()), help=named)
    parser.add_argument("--levels", type=options.some_of(LEVELS), default=list(LEVELS), help="of decoding: exact,fast")
    parser.add_argument("--subjects", type=options.some_of(SUBJECTS), default=list(SUBJECTS), help="pictures,states")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    options.program(main)
