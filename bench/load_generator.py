"""The load generator, a process of its own: `python -m bench.load_generator` reads a JSON job and prints its result.

It sends prepared bytes over raw connections, so that the generator itself costs little. In a closed loop each client
sends its next request after the answer to the one before. In an open loop (`rate`) requests leave on schedule,
whatever comes back.
"""

import asyncio
import base64
import contextlib
import json
import sys
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, field
from typing import cast

import httptools
import uvloop

from bench.tables import percentile

# The longest wait for answers after the last request left.
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Job:
    """The requests of a load, their rate, and the right answers.

    Attributes:
        requests: whole HTTP requests in base64, sent in turn.
        expected: for each request the text that its answer must contain; an answer with status 200 without it is wrong.
        clients: connections of a closed loop.
        rate: requests a second of an open loop; None for a closed one.
        stamp: number of bytes at a request's end that are replaced by its running number, so that no two requests are
            the same and the gateway merges none; for bodies whose last bytes mean nothing.
        heeds: True for clients that send nothing after a refusal until its Retry-After is over.

    """

    host: str
    port: int
    requests: list[str]
    expected: list[str]
    clients: int
    seconds: float
    rate: float | None = None
    stamp: int = 0
    heeds: bool = False


@dataclass
class Result:
    """The answers to a job: counts and latencies in ms by status (0: the connection was lost).

    `cpu_s` is the generator's processor time. `timely` counts the right answers that came before the job's seconds were
    over, without those that a queue still held then.
    """

    seconds: float = 0.0
    statuses: dict[str, int] = field(default_factory=dict)
    wrong: int = 0
    latencies: dict[str, list[float]] = field(default_factory=dict)
    cpu_s: float = 0.0
    timely: int = 0

    @property
    def good(self) -> int:
        """The number of right answers."""
        return self.statuses.get("200", 0) - self.wrong

    @property
    def rate(self) -> float:
        """Right answers a second."""
        return self.good / self.seconds

    def latency(self, percent: float, status: str = "200") -> float:
        """Return a percentile of the latencies in ms."""
        return percentile(self.latencies[status], percent)

    @property
    def failed(self) -> int:
        """The number of all other answers."""
        return sum(self.statuses.values()) - self.good


class _Connection(asyncio.Protocol):
    """One client's connection; it reports each answer to its load."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._transport: asyncio.Transport | None = None
        self._number = -1
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Uvloop's transports are no subclass of it, but have all its methods.
        self._transport = cast("asyncio.Transport", transport)
        self._load.open.add(self)
        self._load.idle(self)

    def send(self, number: int, began: float) -> None:
        assert self._transport is not None
        self._number, self._began = number, began
        self._parser = httptools.HttpResponseParser(self)
        self._body = b""
        self._after_s = 0.0
        self._transport.writelines(self._load.request(number))

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"retry-after":
            self._after_s = float(value)

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        number, self._number = self._number, -1
        keep = self._parser.should_keep_alive()
        self._load.answered(number, self._parser.get_status_code(), self._body, self._began)
        if keep and self._after_s and self._load.heeds:
            asyncio.get_running_loop().call_later(self._after_s, self._load.idle, self)
        elif keep:
            self._load.idle(self)
        elif self._transport is not None:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._number >= 0:
            self._load.answered(self._number, 0, b"", self._began)
        self._load.open.discard(self)
        self._load.lost()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


class _Load:
    """All connections of one job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests = [memoryview(base64.b64decode(each)) for each in job.requests]
        self._expected = [each.encode() for each in job.expected]
        self._idle: deque[_Connection] = deque()
        self._due: deque[tuple[int, float]] = deque()
        self._statuses: Counter[int] = Counter()
        self._latencies: dict[int, list[float]] = {}
        self._wrong = 0
        self._timely = 0
        self.heeds = job.heeds
        self._next = 0
        self._pending = 0
        self._connecting: set[asyncio.Task[None]] = set()
        self.open: set[_Connection] = set()
        self._running = True
        self._finished = asyncio.Event()

    def request(self, number: int) -> tuple[bytes | memoryview, ...]:
        """Return the request of this number, in pieces."""
        whole, stamp = self._requests[number % len(self._requests)], self._job.stamp
        return (whole[:-stamp], number.to_bytes(stamp, "big")) if stamp else (whole,)

    async def run(self) -> Result:
        began, used = time.perf_counter(), time.process_time()
        if self._job.rate is None:
            for _ in range(self._job.clients):
                self._connect()
            await asyncio.sleep(self._job.seconds)
        else:
            await self._keep_rate(self._job.rate, began)
        self._running = False
        seconds = time.perf_counter() - began
        done = sum(self._statuses.values())
        self._finished.clear()
        if self._pending:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._finished.wait(), PATIENCE_S)
        for connection in self.open:
            connection.close()
        if self._job.rate is None:
            seconds *= sum(self._statuses.values()) / max(1, done)
        statuses = {str(status): count for status, count in self._statuses.items()}
        latencies = {str(status): values for status, values in self._latencies.items()}
        return Result(seconds, statuses, self._wrong, latencies, time.process_time() - used, self._timely)

    async def _keep_rate(self, rate: float, began: float) -> None:
        total = int(rate * self._job.seconds)
        for number in range(total):
            moment = began + number / rate
            if (ahead := moment - time.perf_counter()) > 0.001:
                await asyncio.sleep(ahead)
            self._pending += 1
            if self._idle:
                self._idle.popleft().send(number, moment)
            else:
                self._due.append((number, moment))
                self._connect()

    def _connect(self) -> None:
        async def connect() -> None:
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: _Connection(self), self._job.host, self._job.port)

        task = asyncio.ensure_future(connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def idle(self, connection: _Connection) -> None:
        """Send the next request on a free connection, if there is one."""
        if self._job.rate is None:
            if self._running:
                self._pending += 1
                connection.send(self._next, time.perf_counter())
                self._next += 1
            else:
                connection.close()
        elif self._due:
            connection.send(*self._due.popleft())
        else:
            self._idle.append(connection)

    def answered(self, number: int, status: int, body: bytes, began: float) -> None:
        """Count one answer."""
        self._pending -= 1
        if self._pending == 0:
            self._finished.set()
        self._statuses[status] += 1
        self._latencies.setdefault(status, []).append(round((time.perf_counter() - began) * 1000, 3))
        if status == 200:
            right = self._expected[number % len(self._expected)] in body
            self._wrong += not right
            self._timely += right and self._running

    def lost(self) -> None:
        """Replace a closed connection of a closed loop."""
        if self._running and self._job.rate is None:
            self._connect()


def main() -> None:
    """Run the job of standard input and print its result."""
    job = Job(**json.load(sys.stdin))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        result = runner.run(_Load(job).run())
    json.dump(asdict(result), sys.stdout)


if __name__ == "__main__":
    main()
