"""`python -m bench.swaps [--swaps N] [--two-nodes] [--write FILE] [overrides]`: what clients notice of rollouts.

32 clients send pictures and states while digits and cartpole are swapped in turn. Each swap rolls out the same archive
with another `max_batch_delay`. Periods at rest and periods with a swap alternate, and are equally long. It uses the
running stack, on which both models are rolled out. With `--two-nodes` it starts a stack of two engines for the built
archives, and kills and restarts one of the engines all the while.
"""

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import aiohttp

import settings
from bench import document, options
from bench.engine_nodes import PowerCuts, two_nodes
from bench.tables import percentile, table
from demo import digits
from errors import MarinaError
from settings.load import ROOT

CLIENTS, SWAPS, WARM_UP_S = 32, 20, 5.0
WANTED_RATIO = 3.0
SECTION = "swaps"
MODELS = ("digits", "cartpole")
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
Disturb = Callable[[asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class TimedAnswer:
    """One request: times of `time.monotonic`, its status (0 for no answer) and the version that answered."""

    model: str
    sent: float
    came: float
    status: int
    version: str


@dataclass(frozen=True)
class MixedLoad:
    """A closed-loop load until `stop` is called; half of the clients send pictures, half states."""

    gateway: str
    clients: int
    pictures: Sequence[bytes]
    answers: list[TimedAnswer] = field(default_factory=list)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> None:
        """Send requests from every client until `stop`."""
        timeout = aiohttp.ClientTimeout(total=60)
        connector = aiohttp.TCPConnector(limit=self.clients)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            await asyncio.gather(*(self._client(session, number) for number in range(self.clients)))

    def stop(self) -> None:
        """Let every client finish the request that it waits for."""
        self._over.set()

    async def _client(self, session: aiohttp.ClientSession, number: int) -> None:
        turn = number
        while not self._over.is_set():
            turn += 1
            if number % 2:
                await self._send(session, "digits", self.pictures[turn % len(self.pictures)], "image/png")
            else:
                await self._send(session, "cartpole", STATE, "application/json")

    async def _send(self, session: aiohttp.ClientSession, model: str, body: object, media: str) -> None:
        sent, status, version = time.monotonic(), 0, ""
        content = {"data": body, "headers": {"Content-Type": media}} if isinstance(body, bytes) else {"json": body}
        try:
            async with session.post(f"{self.gateway}/models/{model}/predict", **content) as answer:
                parsed = await answer.json(content_type=None)
                status, version = answer.status, parsed.get("version", "")
        except (aiohttp.ClientError, TimeoutError, ValueError):
            """No answer counts as status 0."""
        self.answers.append(TimedAnswer(model, sent, time.monotonic(), status, version))


@dataclass(frozen=True)
class Swap:
    """One rollout under load: times of `time.monotonic`, and the version that serves afterwards."""

    model: str
    began: float
    ended: float
    version: str


@dataclass(frozen=True)
class SwapsUnderLoad:
    """All answers, the swaps, and the periods at rest between them."""

    answers: tuple[TimedAnswer, ...]
    swaps: tuple[Swap, ...]
    rests: tuple[tuple[float, float], ...]

    def failed(self) -> list[TimedAnswer]:
        """Return the requests that got no prediction."""
        return [answer for answer in self.answers if answer.status != 200]

    def misrouted(self) -> list[TimedAnswer]:
        """Return answers of a version that was gone when the request left, or was not live yet when the answer came."""
        return [answer for answer in self.answers if answer.status == 200 and not self._live(answer)]

    def _live(self, answer: TimedAnswer) -> bool:
        periods = self._periods[answer.model]
        return any(
            version == answer.version and since <= answer.came and answer.sent <= until
            for version, since, until in periods
        )

    @cached_property
    def _periods(self) -> dict[str, list[tuple[str, float, float]]]:
        """The versions of each model in turn, each from the beginning of its upload to the end of the next one."""
        return {model: self._periods_of(model) for model in MODELS}

    def _periods_of(self, model: str) -> list[tuple[str, float, float]]:
        own = [swap for swap in self.swaps if swap.model == model]
        first = next(answer.version for answer in self.answers if answer.model == model and answer.status == 200)
        versions = [first, *(swap.version for swap in own)]
        since = [0.0, *(swap.began for swap in own)]
        until = [*(swap.ended for swap in own), float("inf")]
        return list(zip(versions, since, until, strict=True))


async def measure(
    gateway: str, swaps: int, env: dict[str, str], overrides: Sequence[str] = (), disturb: Disturb | None = None
) -> SwapsUnderLoad:
    """Swap `swaps` times under load, with an equally long rest before each swap, and return all answers.

    `disturb` runs meanwhile, until the event that it gets is set.
    """
    _, unseen = digits.load_split()
    load = MixedLoad(gateway, CLIENTS, [digits.png(image) for image in unseen.images[:50]])
    running = asyncio.create_task(load.run())
    done: list[Swap] = []
    rests: list[tuple[float, float]] = []
    over = asyncio.Event()
    try:
        await asyncio.sleep(WARM_UP_S)
        beside = asyncio.ensure_future(disturb(over)) if disturb else None
        for number in range(swaps):
            rest_s = statistics.median(swap.ended - swap.began for swap in done) if done else WARM_UP_S
            began = time.monotonic()
            await asyncio.sleep(rest_s)
            rests.append((began, time.monotonic()))
            done.append(await _swap(MODELS[number % 2], 2 + number // 2 % 2, env, overrides))
        over.set()
        if beside is not None:
            await beside
    finally:
        load.stop()
        await running
    return SwapsUnderLoad(tuple(load.answers), tuple(done), tuple(rests))


async def _swap(model: str, delay_ms: int, env: dict[str, str], overrides: Sequence[str]) -> Swap:
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "upload_model.py",
        f"served_model={model}",
        f"served_model.request_params.max_batch_delay={delay_ms}",
        *overrides,
        cwd=ROOT,
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, errors = await process.communicate()
    words = printed.decode().split()
    if process.returncode != 0 or words[2:4] != ["serves", "now"]:
        raise MarinaError(f"the swap of {model} failed: {errors.decode().strip().splitlines()[-1:]} {words}")
    return Swap(model, began, time.monotonic(), words[1])


def report(measured: SwapsUnderLoad) -> str:
    """Return latency at rest beside latency during swaps, and the counts that must be zero."""
    head = ("model", "p50 at rest", "p50 in swaps", "p99 at rest", "p99 in swaps", "p99 ratio", "wanted")
    return (
        f"{len(measured.answers)} requests of {CLIENTS} clients over {len(measured.swaps)} swaps:\n"
        f"{len(measured.failed())} failed, {len(measured.misrouted())} answered by a version that was not live\n\n"
        f"{table(head, (_row(measured, model) for model in MODELS))}"
    )


def _row(measured: SwapsUnderLoad, model: str) -> tuple[str, ...]:
    rest = _seconds(measured, model, measured.rests)
    during = _seconds(measured, model, [(swap.began, swap.ended) for swap in measured.swaps])
    cells = [f"{1000 * percentile(values, percent):.1f} ms" for percent in (50, 99) for values in (rest, during)]
    return (model, *cells, f"{percentile(during, 99) / percentile(rest, 99):.2f}", f"≤ {WANTED_RATIO:g}")


def _seconds(measured: SwapsUnderLoad, model: str, windows: Sequence[tuple[float, float]]) -> list[float]:
    inside = [a for a in measured.answers if a.model == model and any(w[0] <= a.sent < w[1] for w in windows)]
    return [answer.came - answer.sent for answer in inside]


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 if a request failed or got its answer from a version that was not live."""
    parser = options.parser("bench.swaps", SECTION, overrides="of the running stack's settings")
    parser.add_argument("--swaps", type=options.count, default=SWAPS)
    parser.add_argument("--two-nodes", action="store_true", help="two engines, one of which is killed again and again")
    given = parser.parse_args(arguments)
    loaded = settings.load(given.overrides)
    if given.two_nodes:
        measured, more = _on_two_nodes(Path(loaded.paths.archives), given.swaps, given.overrides)
    else:
        measured = asyncio.run(measure(loaded.gateway.url, given.swaps, dict(os.environ), given.overrides))
        more = ""
    count = f"{len(measured.swaps)} swaps of digits and cartpole in turn, and as much time at rest"
    heading = document.heading("bench.swaps", arguments, count)
    document.publish(given.write, SECTION, f"{heading}\n\n{report(measured)}{more}")
    return 1 if measured.failed() or measured.misrouted() else 0


def _on_two_nodes(archives: Path, swaps: int, overrides: list[str]) -> tuple[SwapsUnderLoad, str]:
    with tempfile.TemporaryDirectory(prefix="marina-swaps-") as name:
        built = Path(name) / "archives"
        built.mkdir()
        for model in MODELS:
            if not (archives / f"{model}.mar").is_file():
                raise MarinaError(f"no archive {archives / model}.mar; `make generate_mar MODEL={model}` builds it")
            shutil.copy(archives / f"{model}.mar", built)
        with two_nodes(Path(name), built, MODELS) as nodes:
            cuts = PowerCuts(nodes)
            measured = asyncio.run(measure(nodes.gateway, swaps, nodes.env, overrides, cuts.run))
    return (
        measured,
        f"\n\nOne of two nodes was killed {cuts.kills} times, and was back in traffic {cuts.returns} times.",
    )


if __name__ == "__main__":
    options.program(main)
