"""`python -m bench.tracing [--rounds N] [--requests N] [--write FILE]`: the cost of traces in a worker.

Three workers of the packed cartpole take turns: one without a collector, one whose requests are not sampled, and one
whose requests are all sampled and sent to a collector that throws them away. The processor time of the whole process
counts, with that of the exporter's thread.
"""

import http.server
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import settings
from archive import TrustPolicy, open_trusted
from bench import document, options
from bench.driver import take_turns
from bench.server_process import LineProcess, MeasurementError
from bench.tables import Row, figures, ratio_row

ROUNDS, REQUESTS, SECTION = 11, 4000, "tracing"
ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
WANTED_UNSAMPLED, WANTED_LOADING = 1.15, 1.5


class Sink(http.server.BaseHTTPRequestHandler):
    """A collector that throws everything away."""

    def do_POST(self) -> None:
        """Read the traces."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Log nothing."""


def _worker(folder: Path, endpoint: str) -> LineProcess:
    # As in TorchServe, the archive's `sitecustomize` keeps torch out of a worker that needs none.
    env = {ENDPOINT: endpoint, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder)}
    return LineProcess([sys.executable, "-m", "bench.worker_process", "traced", str(folder)], env)


def measure(folder: Path, endpoint: str, rounds: int, requests: int) -> list[Row]:
    """Return all rows; in each round the three workers take turns."""
    with ExitStack() as opened:
        off, unsampled, sampled = (
            opened.enter_context(closing(_worker(folder, each))) for each in ("", endpoint, endpoint)
        )
        if len({worker.receive()["answer"] for worker in (off, unsampled, sampled)}) != 1:
            raise MeasurementError("the workers do not answer the same")
        sides = {
            "off": partial(_microseconds, off, f"01 {requests}"),
            "not sampled": partial(_microseconds, unsampled, f"00 {requests}"),
            "sampled": partial(_microseconds, sampled, f"01 {requests}"),
        }
        found = take_turns(sides, rounds, warm=1)
    return [*_loading(folder, endpoint, rounds), *_requests(*found.values())]


def _microseconds(worker: LineProcess, line: str) -> float:
    worker.send(line)
    return float(worker.receive())


def _loading(folder: Path, endpoint: str, rounds: int) -> Iterator[Row]:
    sides: dict[str, list[dict[str, Any]]] = {"": [], endpoint: []}
    for _ in range(min(rounds, 5)):
        for side, found in sides.items():
            with closing(_worker(folder, side)) as worker:
                found.append(worker.receive())
    for what, key, unit in (("loading, processor time", "cpu_s", "s"), ("memory of a loaded worker", "mb", "MB")):
        off, on = ([each[key] for each in found] for found in sides.values())
        yield ratio_row(f"{what}, tracing on ÷ off", on, off, unit, most=WANTED_LOADING)


def _requests(off: list[float], unsampled: list[float], sampled: list[float]) -> Iterator[Row]:
    yield ratio_row("a request that is not sampled ÷ tracing off", unsampled, off, "µs", most=WANTED_UNSAMPLED)
    each = sorted(one - other for one, other in zip(sampled, off, strict=True))
    figure = f"{each[len(each) // 2]:.0f} µs"
    yield Row("a sampled request, more than off", f"{each[0]:.0f} to {each[-1]:.0f} µs", figure, "", None)


@contextmanager
def sink() -> Iterator[str]:
    """Start a collector that throws everything away; yields its URL."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sink) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/traces"
        finally:
            server.shutdown()
            thread.join()


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table. Raises MeasurementError when the workers answer differently."""
    parser = options.parser("bench.tracing", SECTION, rounds=ROUNDS)
    parser.add_argument("--requests", type=options.count, default=REQUESTS, help="of each worker in a round")
    given = parser.parse_args(arguments)
    loaded = settings.load()
    archive = Path(loaded.paths.archives) / "cartpole.mar"
    if not archive.is_file():
        raise MeasurementError(f"no archive {archive}; `make generate_mar MODEL=cartpole` builds it")
    with tempfile.TemporaryDirectory(prefix="marina-tracing-") as folder, sink() as endpoint:
        open_trusted(archive, TrustPolicy.of(loaded)).unpack(Path(folder))
        rows = measure(Path(folder), endpoint, given.rounds, given.requests)
    measured = f"{given.rounds} rounds of {given.requests} requests, one a batch, cartpole"
    heading = document.heading("bench.tracing", arguments, measured)
    document.publish(given.write, SECTION, f"{heading}\n\n{figures(rows)}")
    return 0


if __name__ == "__main__":
    options.program(main)
