"""`python -m bench.swaps [--swaps N] [--two-nodes] [--write FILE] [hydra overrides]`: what clients notice of swaps.

Swaps digits and cartpole in turn while 32 clients mix pictures and states; each swap is the same archive with another
`max_batch_delay`. Rounds at rest and rounds with a swap alternate, and both are as long. The stack is the one that
runs, which both models have been rolled out on; with `--two-nodes` it is one of two engines that is made for this, from
the built archives, and one of the engines is killed and started again all the while.
"""

import asyncio
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import commands
import settings
from bench import document, machine, options
from bench.mixed_load import Answer, Load
from bench.power_cuts import PowerCuts
from bench.two_nodes import two_nodes
from demo import digits
from errors import MarinaError
from settings.load import ROOT

CLIENTS, SWAPS, WARM_UP_S = 32, 20, 5.0
WANTED_RATIO = 3.0
SECTION = "swaps"
Disturb = Callable[[asyncio.Event], Awaitable[None]]
MODELS = ("digits", "cartpole")


@dataclass(frozen=True)
class Swap:
    """One rollout under load: times of `time.monotonic`, and the version that served from then on."""

    model: str
    began: float
    ended: float
    version: str


@dataclass(frozen=True)
class Measured:
    """All answers, the swaps, and the times at rest between them."""

    answers: tuple[Answer, ...]
    swaps: tuple[Swap, ...]
    rests: tuple[tuple[float, float], ...]

    def failed(self) -> list[Answer]:
        """Requests that got no prediction."""
        return [answer for answer in self.answers if answer.status != 200]

    def strangers(self) -> list[Answer]:
        """Answers of a version that no longer served when they were asked for, or did not serve yet when they came."""
        return [answer for answer in self.answers if answer.status == 200 and not self._live(answer)]

    def _live(self, answer: Answer) -> bool:
        periods = self._periods[answer.model]
        return any(
            version == answer.version and since <= answer.came and answer.sent <= until
            for version, since, until in periods
        )

    @cached_property
    def _periods(self) -> dict[str, list[tuple[str, float, float]]]:
        """For each model the versions in turn: from the beginning of its upload to the end of the next one."""
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
) -> Measured:
    """Put the load on, swap `swaps` times with a rest as long before each, and return everything that was seen.

    `disturb` runs beside all this until the event that it is given is set.
    """
    _, unseen = digits.load_split()
    load = Load(gateway, CLIENTS, [digits.png(image) for image in unseen.images[:50]])
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
    return Measured(tuple(load.answers), tuple(done), tuple(rests))


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
    printed, said = await process.communicate()
    words = printed.decode().split()
    if process.returncode != 0 or words[2:4] != ["serves", "now"]:
        raise MarinaError(f"the swap of {model} failed: {said.decode().strip().splitlines()[-1:]} {words}")
    return Swap(model, began, time.monotonic(), words[1])


def table(measured: Measured) -> str:
    """The Markdown report: latency at rest beside latency during swaps, and what must be nought."""
    lines = [
        f"{len(measured.answers)} requests of {CLIENTS} clients over {len(measured.swaps)} swaps:",
        f"{len(measured.failed())} failed, {len(measured.strangers())} answered by a version that was not live",
        "",
        "| model | p50 at rest | p50 in swaps | p99 at rest | p99 in swaps | p99 ratio | wanted |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for model in MODELS:
        rest = _seconds(measured, model, measured.rests)
        during = _seconds(measured, model, [(swap.began, swap.ended) for swap in measured.swaps])
        cells = [f"{1000 * _at(values, share):.1f} ms" for share in (0.5, 0.99) for values in (rest, during)]
        lines.append(
            f"| {model} | {' | '.join(cells)} | {_at(during, 0.99) / _at(rest, 0.99):.2f} | ≤ {WANTED_RATIO:g} |"
        )
    return "\n".join(lines)


def _seconds(measured: Measured, model: str, windows: Sequence[tuple[float, float]]) -> list[float]:
    inside = [a for a in measured.answers if a.model == model and any(w[0] <= a.sent < w[1] for w in windows)]
    return sorted(answer.came - answer.sent for answer in inside)


def _at(values: Sequence[float], share: float) -> float:
    return values[min(len(values) - 1, int(share * len(values)))]


def main(arguments: Sequence[str]) -> int:
    """Measure and print the table; fails when a request failed or was answered by a version that was not live."""
    parser = options.parser("bench.swaps", SECTION)
    parser.add_argument("--swaps", type=options.count, default=SWAPS)
    parser.add_argument("--two-nodes", action="store_true", help="two engines, one of which is killed again and again")
    parser.add_argument("overrides", nargs="*", help="of the running stack's settings")
    chosen = parser.parse_args(arguments)
    document.check(chosen.write, SECTION)
    loaded = settings.load(chosen.overrides)
    if chosen.two_nodes:
        measured, more = _on_two_nodes(Path(loaded.paths.archives), chosen.swaps, chosen.overrides)
    else:
        measured = asyncio.run(measure(loaded.gateway.url, chosen.swaps, dict(os.environ), chosen.overrides))
        more = ""
    words = f"{len(measured.swaps)} swaps of digits and cartpole in turn, and as much time at rest"
    text = f"{machine.heading(['python', '-m', 'bench.swaps', *arguments], words)}\n\n{table(measured)}{more}"
    print(text)
    document.write(chosen.write, SECTION, text)
    return 1 if measured.failed() or measured.strangers() else 0


def _on_two_nodes(archives: Path, swaps: int, overrides: list[str]) -> tuple[Measured, str]:
    with tempfile.TemporaryDirectory(prefix="marina-swaps-") as name:
        built = Path(name) / "archives"
        built.mkdir()
        for model in MODELS:
            if not (archives / f"{model}.mar").is_file():
                raise MarinaError(f"no archive {archives / model}.mar; `make generate_mar MODEL={model}` builds it")
            shutil.copy(archives / f"{model}.mar", built)
        with two_nodes(Path(name), built, MODELS) as nodes:
            cuts = PowerCuts(nodes)
            measured = asyncio.run(measure(nodes.gateway, swaps, nodes.env, overrides, cuts.go_on))
    return (
        measured,
        f"\n\nOne of two nodes was killed {cuts.kills} times, and was back in traffic {cuts.returns} times.",
    )


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
