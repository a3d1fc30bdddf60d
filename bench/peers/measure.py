"""One start of one peer: its cold start, whether it answers rightly, what it gives under load, and its memory."""

import contextlib
import shutil
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench import answers, drive
from bench.assets import WORKERS, Assets
from bench.figures import percentile
from bench.peers import environment
from bench.peers.peer import Level, Peer, Site, Start
from bench.server import Failed, Server, Wrong, serving
from bench.targets import FORM, Sample, Target, form_of
from settings.load import ROOT

# A runtime that compiles as it goes, Java above all, needs this long to be at its speed.
WARM_S = 6.0


@dataclass(frozen=True)
class Load:
    """How much is asked, and for how long."""

    seconds: float
    clients: int


@dataclass(frozen=True)
class Contender:
    """A peer at one decode level and in one shape, with the ports that it keeps for the whole run."""

    peer: Peer
    level: Level
    workers: int
    threads: int
    port: int

    @property
    def name(self) -> str:
        """Unique, and fit for a folder: short, because TorchServe's sockets lie in it, whose paths have 108 bytes."""
        which = f"{zlib.crc32(self.peer.title.encode()):08x}"
        return f"{self.peer.subject}-{self.level}-{self.peer.folder}-{which}-{self.workers}x{self.threads}"


@dataclass(frozen=True)
class Measured:
    """Right answers a second, latencies in ms, cold start in s, memory under load in MB."""

    rate: float
    p50: float
    p99: float
    cold_s: float
    memory_mb: float


@dataclass(frozen=True)
class Inputs:
    """What is sent: the samples, and what is right for the first of them."""

    pictures: Sequence[Sample]
    states: Sequence[Sample]
    actions: Sequence[int]


def measure(contender: Contender, assets: Assets, inputs: Inputs, load: Load) -> Measured:
    """Start it, measure it, end it; raises Failed with the reason when there is nothing to measure."""
    peer = contender.peer
    if reason := peer.needs():
        raise Failed(reason)
    name, port = contender.name, contender.port
    shape = (contender.workers, contender.threads)
    python = environment.python(peer)
    with launched(assets, name, peer.start, port, contender.level, shape, python, peer.stop) as server:
        return _look(contender, assets, inputs, load, server)


@contextlib.contextmanager
def launched(
    assets: Assets,
    name: str,
    start: Callable[[Site], Start],
    port: int,
    level: Level = "exact",
    shape: tuple[int, int] = (WORKERS, 1),
    python: str = sys.executable,
    stop: Callable[[Site], None] | None = None,
) -> Iterator[Server]:
    """A started server in an empty folder of its own, which goes with it."""
    folder = assets.folder / "sites" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    site = Site(assets, folder, python, port, level, *shape)
    command = start(site)
    try:
        with serving(command.command, {**_environment(site), **command.env}, folder) as server:
            try:
                yield server
            finally:
                if stop is not None:
                    stop(site)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _environment(site: Site) -> dict[str, str]:
    return {
        "PORT": str(site.port),
        "MODEL": str(site.model),
        "ASSETS": str(site.assets.folder),
        "POLICY": str(site.assets.policy_weights),
        "LEVEL": site.level,
        "WORKERS": str(site.workers),
        "THREADS": str(site.threads),
        "PYTHONPATH": str(ROOT),
    }


def _look(contender: Contender, assets: Assets, inputs: Inputs, load: Load, server: Server) -> Measured:
    target = Target("127.0.0.1", contender.port, contender.peer.path)
    samples, content_type = _samples(contender.peer, inputs)

    def ready() -> bool:
        try:
            _checked(contender, target, samples[:1], content_type, assets, inputs)
        except Wrong:
            raise
        except Failed:
            return False
        return True

    cold_s = server.wait(ready)
    samples = _checked(contender, target, samples, content_type, assets, inputs)
    requests = target.requests(samples, content_type)
    drive.run(target.job(requests, samples, load.clients, WARM_S))
    process = drive.start(target.job(requests, samples, load.clients, load.seconds))
    time.sleep(load.seconds * 0.6)
    memory_mb = server.memory_mb()
    result = drive.checked(drive.finish(process))
    latencies = result.latencies["200"]
    rate = result.good / result.seconds
    return Measured(rate, percentile(latencies, 50), percentile(latencies, 99), cold_s, memory_mb)


def _samples(peer: Peer, inputs: Inputs) -> tuple[list[Sample], str]:
    if peer.subject == "states":
        return list(inputs.states), "application/json"
    if peer.form == "base64":
        return [answers.base64_json(sample) for sample in inputs.pictures], "application/json"
    if peer.form == "multipart":
        return [form_of(sample) for sample in inputs.pictures], FORM
    return list(inputs.pictures), "image/jpeg"


def _checked(
    contender: Contender, target: Target, samples: Sequence[Sample], content_type: str, assets: Assets, inputs: Inputs
) -> list[Sample]:
    if contender.peer.subject == "states":
        return answers.with_states(target, samples, inputs.actions[: len(samples)])
    return answers.with_pictures(target, samples, content_type, assets.reference[contender.level])
