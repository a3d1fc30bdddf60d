"""`python -m bench.tracing [--rounds N] [--requests N] [--write FILE]`: what tracing costs a worker.

Three workers of the packed cartpole take turns: one that is told of no collector, one whose requests nobody samples,
one whose requests are all sampled and sent to a collector that throws them away. Processor time of the whole process
counts, the exporter's thread included, because what it takes the handler does not have.
"""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import commands
import settings
from archive import TrustPolicy, open_trusted
from bench import document, machine, options
from bench.figures import Row, markdown, share_row
from bench.server import Failed
from settings.load import ROOT

ROUNDS, REQUESTS, SECTION = 11, 4000, "tracing"
ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
WANTED_UNSAMPLED, WANTED_LOADING = 1.15, 1.5


class Sink(http.server.BaseHTTPRequestHandler):
    """A collector that throws everything away."""

    def do_POST(self) -> None:
        """Take it."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing."""


class Worker:
    """One process; `loaded` is what its loading cost."""

    def __init__(self, folder: Path, endpoint: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.traced_worker", str(folder)],
            cwd=ROOT,
            # As TorchServe sets it: the archive's `sitecustomize` keeps torch out of a worker that needs none.
            env={**os.environ, ENDPOINT: endpoint, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self.loaded: dict[str, Any] = self._line()

    def microseconds(self, flag: str, requests: int) -> float:
        """Processor time of one request; raises Failed when the process has ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{flag} {requests}\n")
        self._process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()

    def _line(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(f"a worker ended with {self._process.wait()}")
        return json.loads(line)


def measure(folder: Path, endpoint: str, rounds: int, requests: int) -> list[Row]:
    """All rows; each round asks the three workers in turn."""
    with ExitStack() as open_workers:

        def worker(endpoint: str) -> Worker:
            made = Worker(folder, endpoint)
            open_workers.callback(made.close)
            return made

        off, unsampled, sampled = sides = (worker(""), worker(endpoint), worker(endpoint))
        if len({side.loaded["answer"] for side in sides}) != 1:
            raise Failed("the workers do not answer the same")
        found: list[list[float]] = [[], [], []]
        for number in range(rounds + 1):
            asked = ((off, "01"), (unsampled, "00"), (sampled, "01"))
            once = [side.microseconds(flag, requests) for side, flag in asked]
            if number:  # the first round warms up
                for values, value in zip(found, once, strict=True):
                    values.append(value)
    return [*_loading(folder, endpoint, rounds), *_requests(*found)]


def _loading(folder: Path, endpoint: str, rounds: int) -> Iterator[Row]:
    sides: dict[str, list[dict[str, Any]]] = {"": [], endpoint: []}
    for _ in range(min(rounds, 5)):
        for side, found in sides.items():
            made = Worker(folder, side)
            found.append(made.loaded)
            made.close()
    for what, key, unit in (("loading, processor time", "cpu_s", "s"), ("memory of a loaded worker", "mb", "MB")):
        off, on = ([each[key] for each in found] for found in sides.values())
        yield share_row(f"{what}, tracing on ÷ off", on, off, unit, WANTED_LOADING)


def _requests(off: list[float], unsampled: list[float], sampled: list[float]) -> Iterator[Row]:
    yield share_row("a request that is not sampled ÷ tracing off", unsampled, off, "µs", WANTED_UNSAMPLED)
    each = sorted(one - other for one, other in zip(sampled, off, strict=True))
    figure = f"{each[len(each) // 2]:.0f} µs"
    yield Row("a request that is sampled, more than off", f"{each[0]:.0f} to {each[-1]:.0f} µs", figure, "told", None)


@contextmanager
def sink() -> Iterator[str]:
    """URL of a collector that throws everything away."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        finally:
            server.shutdown()
            thread.join()


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table; fails when the workers answer differently."""
    parser = options.parser("bench.tracing", SECTION, rounds=ROUNDS)
    parser.add_argument("--requests", type=options.count, default=REQUESTS, help="of each worker in a round")
    chosen = parser.parse_args(arguments)
    document.check(chosen.write, SECTION)
    loaded = settings.load()
    archive = Path(loaded.paths.archives) / "cartpole.mar"
    if not archive.is_file():
        raise Failed(f"no archive {archive}; `make generate_mar MODEL=cartpole` builds it")
    with tempfile.TemporaryDirectory(prefix="marina-tracing-") as folder, sink() as endpoint:
        open_trusted(archive, TrustPolicy.of(loaded)).unpack(Path(folder))
        rows = measure(Path(folder), endpoint, chosen.rounds, chosen.requests)
    words = f"{chosen.rounds} rounds of {chosen.requests} requests, one a batch, cartpole"
    text = f"{machine.heading(['python', '-m', 'bench.tracing', *arguments], words)}\n\n{markdown(rows)}"
    print(text)
    document.write(chosen.write, SECTION, text)
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
