"""The project's own HTTP client, multipart reader and statistical tests beside libraries for the same.

    gateway/upstream/connections   aiohttp             one POST of the gateway to its engine
    gateway/http/multipart         python-multipart    the one file of a form
    loadtest, delivery             scipy, if installed the tests of two groups of rounds and of two shares

Both sides take turns. A round's figure is the processor time of a call on the thread that makes it. Both must give the
same answer to each call. The whole takes fifteen seconds, without a stack.
"""

import asyncio
import importlib.util
import io
import os
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import TypeVar

import aiohttp
import python_multipart
import uvloop

from bench import samples
from bench.driver import take_turns, turned
from bench.local_stack import run
from bench.samples import FORM, JPEG, JSON, Sample
from bench.server_process import MeasurementError
from bench.tables import Row, missing_row, ratio_row
from delivery import significance
from gateway.http.body import Body
from gateway.http.multipart import read_form
from gateway.upstream.connections import ConnectionPool, tcp
from loadtest import round_stats

T = TypeVar("T")

SECTION = "libraries"
ROUNDS = 11
MEASURED = f"{ROUNDS} rounds in turn, processor time of a call, median (least to most) and median of the ratios"
POSTS, FORMS, TESTS = 1000, 200, 20
ANSWER = b'{"model":"cartpole","version":"1.0","predictions":[{"action":1}]}'
PATH = "/predictions/cartpole"
SAME = 1e-9  # largest difference of two p-values or bounds

FIRST = (101.0, 103.5, 99.2, 100.7, 104.1, 98.8)
SECOND = (105.3, 107.9, 102.6, 106.4, 108.8, 103.1)
"""Rates of six rounds each, without equal values."""
SHARES = (37, 4_000, 19, 4_100)
"""Errors and requests of two versions."""


def rows() -> list[Row]:
    """Measure every pair. Raises MeasurementError when the two sides of a pair answer differently."""
    return [*_http_client(), _multipart(), *_statistics()]


def _http_client() -> Iterator[Row]:
    with _server() as port:
        yield _posts(port, "a state", samples.states()[0], JSON)
        yield _posts(port, "a picture", samples.simple_pictures()[0], JPEG)


def _posts(port: int, name: str, sample: Sample, content_type: str) -> Row:
    pool = ConnectionPool(tcp("127.0.0.1", port), limit=4, keepalive_s=60, connect_timeout_s=5)
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(sample.body)}\r\n\r\n"
    ).encode()
    url, headers = f"http://127.0.0.1:{port}{PATH}", {"Content-Type": content_type}

    async def open_session() -> aiohttp.ClientSession:
        return aiohttp.ClientSession()

    async def own() -> bytes:
        connection = await pool.acquire()
        try:
            return (await connection.post(head, sample.body)).body
        finally:
            pool.release(connection)

    async def library() -> bytes:
        async with session.post(url, data=sample.body, headers=headers) as response:
            return await response.read()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        session = runner.run(open_session())
        sides = {"own": lambda: runner.run(_post_us(own)), "library": lambda: runner.run(_post_us(library))}
        found = take_turns(sides, ROUNDS, warm=1)  # the first round opens the connections
        pool.close()
        runner.run(session.close())
    what = f"POST of {name}, {_size(sample)}: own HTTP client ÷ aiohttp"
    return ratio_row(what, found["own"], found["library"], "µs", most=1)


async def _post_us(post: Callable[[], Awaitable[bytes]]) -> float:
    """Return the processor time of one of many posts, in µs."""
    began = time.thread_time()
    for _ in range(POSTS):
        if await post() != ANSWER:
            raise MeasurementError("an HTTP client returns another body than the server sent")
    return 1e6 * (time.thread_time() - began) / POSTS


class _Answering(asyncio.Protocol):
    """A connection that answers each whole request at once; it reads no more of it than its length."""

    _HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: {JSON}\r\nContent-Length: {len(ANSWER)}\r\n\r\n".encode()

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, end, body = self._received.partition(b"\r\n\r\n")
        if not end:
            return
        [length] = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        if len(body) >= length:
            self._received = body[length:]
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.write(self._HEAD + ANSWER)


@contextmanager
def _server() -> Iterator[int]:
    """Run a server in a thread of its own, whose processor time does not count; yields its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(_Answering, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()
        loop.close()


def _multipart() -> Row:
    picture = samples.simple_pictures()[0]
    form = samples.multipart(picture)
    media_type, options = "multipart/form-data", {b"boundary": samples.BOUNDARY.encode()}

    def own() -> bytes:
        return read_form(Body(media_type, options, form.body)).only_file().data

    def library() -> bytes:
        files: list[bytes] = []

        def keep(file: python_multipart.multipart.File) -> None:
            file.file_object.seek(0)
            files.append(file.file_object.read())

        headers = {"Content-Type": FORM.encode(), "Content-Length": str(len(form.body)).encode()}
        python_multipart.parse_form(headers, io.BytesIO(form.body), None, keep)
        [data] = files
        return data

    found = _in_turn({"own": own, "library": library}, FORMS, lambda data: data == picture.body)
    what = f"file of a form, {_size(picture)}: own multipart reader ÷ python-multipart"
    return ratio_row(what, found["own"], found["library"], "µs", most=1)


def _statistics() -> Iterator[Row]:
    what = "own statistical tests ÷ scipy"
    if importlib.util.find_spec("scipy") is None:
        yield missing_row(what, "scipy is not installed", "≤ 1")
        return
    from scipy import stats

    hits, total, other_hits, other_total = SHARES
    shares = [[hits, total - hits], [other_hits, other_total - other_hits]]
    pairs: dict[str, tuple[Callable[[], float], Callable[[], float]]] = {
        "Mann-Whitney U, exact, 6 and 6 rounds": (
            lambda: round_stats.mann_whitney(FIRST, SECOND),
            lambda: stats.mannwhitneyu(FIRST, SECOND, method="exact").pvalue,
        ),
        "Fisher's exact test": (
            lambda: significance.p_more_frequent(*SHARES),
            lambda: stats.fisher_exact(shares, alternative="greater").pvalue,
        ),
        "Wilson's interval": (
            lambda: significance.share_interval(hits, total, 0.025).low,
            lambda: stats.binomtest(hits, total).proportion_ci(0.95, method="wilson").low,
        ),
    }
    for name, (own, library) in pairs.items():
        found = _in_turn({"own": own, "library": library}, TESTS, _is(float(library())))
        yield ratio_row(f"{name}: own ÷ scipy", found["own"], found["library"], "µs", most=1)
    yield _whole_test()


def _is(right: float) -> Callable[[float], bool]:
    return lambda value: abs(value - right) <= SAME


PROGRAM = """
import time
before = time.process_time()
from {module} import {name}
found = {name}({first}, {second}{options})
print(time.process_time() - before, float(getattr(found, "pvalue", found)))
"""
MANY_FIRST, MANY_SECOND = [float(n) for n in range(100, 120, 2)], [n + 0.5 for n in range(104, 124, 2)]


def _whole_test() -> Row:
    """Measure import and a test of 10 and 10 rounds, the most that the own test counts exactly, in a fresh process."""
    programs = {
        "own": {"module": "loadtest.round_stats", "name": "mann_whitney", "options": ""},
        "library": {"module": "scipy.stats", "name": "mannwhitneyu", "options": ", method='exact'"},
    }
    found: dict[str, list[float]] = {name: [] for name in programs}
    for number in range(5):
        answers = []
        for side in turned(list(programs), number):
            program = PROGRAM.format(**programs[side], first=MANY_FIRST, second=MANY_SECOND)
            seconds, answer = run(("-c", program), os.environ).split()
            found[side].append(float(seconds))
            answers.append(float(answer))
        if abs(answers[0] - answers[1]) > SAME:
            raise MeasurementError(f"own code and library answer differently: {answers}")
    what = "import and Mann-Whitney U, 10 and 10 rounds: own ÷ scipy"
    return ratio_row(what, found["own"], found["library"], "s", most=1)


def _in_turn(sides: Mapping[str, Callable[[], T]], count: int, right: Callable[[T], bool]) -> dict[str, list[float]]:
    """Return the processor time of a call of each side, in µs, for each round."""
    return take_turns({name: partial(_call_us, call, count, right) for name, call in sides.items()}, ROUNDS, warm=1)


def _call_us(call: Callable[[], T], count: int, right: Callable[[T], bool]) -> float:
    began = time.thread_time()
    answers = [call() for _ in range(count)]
    spent = time.thread_time() - began
    if not all(map(right, answers)):
        raise MeasurementError(f"own code and library answer differently: {answers[0]!r:.200}")
    return 1e6 * spent / count


def _size(sample: Sample) -> str:
    return f"{len(sample.body)} B" if len(sample.body) < 1000 else f"{len(sample.body) / 1000:.0f} KB"
