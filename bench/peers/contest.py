"""One start of one peer: its cold start, the check of its answers, its rate and latency under load, its memory."""

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from bench import driver, samples, targets
from bench.assets import Assets, Level
from bench.peers import packages
from bench.peers.launch import Site, launched
from bench.peers.table import Peer
from bench.samples import JPEG, JSON, Sample
from bench.server_process import MeasurementError, ServerProcess, WrongAnswer
from bench.targets import Target

# A runtime that compiles as it goes, Java above all, takes this long to reach its speed.
WARM_S = 6.0


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
        """A unique name for a folder, short because the paths of TorchServe's sockets in it may have 108 bytes."""
        which = f"{zlib.crc32(self.peer.title.encode()):08x}"
        return f"{self.peer.subject}-{self.level}-{self.peer.folder}-{which}-{self.workers}x{self.threads}"


@dataclass(frozen=True)
class Measured:
    """Right answers a second, latencies in ms, cold start in s, memory under load in MB."""

    rate: float
    p50: float = 0.0
    p99: float = 0.0
    cold_s: float = 0.0
    memory_mb: float = 0.0


@dataclass(frozen=True)
class Inputs:
    """The samples, and the right actions for the states."""

    pictures: Sequence[Sample]
    states: Sequence[Sample] = ()
    actions: Sequence[int] = ()

    def samples(self, peer: Peer) -> tuple[list[Sample], str]:
        """Return the samples in the form that the peer takes, and their content type."""
        if peer.subject == "states":
            return list(self.states), JSON
        if peer.form == "base64":
            return [samples.base64_json(sample) for sample in self.pictures], JSON
        if peer.form == "multipart":
            return [samples.multipart(sample) for sample in self.pictures], samples.FORM
        return list(self.pictures), JPEG


def measure(contender: Contender, assets: Assets, inputs: Inputs, clients: int, seconds: float) -> Measured:
    """Start the peer, measure it and end it. Raises MeasurementError with the reason why there is no figure."""
    peer = contender.peer
    if reason := peer.needs():
        raise MeasurementError(reason)
    shape = (contender.level, contender.workers, contender.threads)
    folder = assets.folder / "sites" / contender.name
    site = Site(assets, folder, packages.python(peer), contender.port, *shape)
    with launched(site, peer.launch, peer.stop) as server:
        return _under_load(_Check(contender, assets, inputs), server, clients, seconds)


class _Check:
    """The check that a contender answers rightly."""

    def __init__(self, contender: Contender, assets: Assets, inputs: Inputs) -> None:
        self.target = Target("127.0.0.1", contender.port, contender.peer.path)
        self.samples, self.content_type = inputs.samples(contender.peer)
        self._actions = inputs.actions if contender.peer.subject == "states" else None
        self._reference = assets.reference[contender.level]

    def ready(self) -> bool:
        """Return True if the server answers the first sample. Raises WrongAnswer."""
        try:
            self.checked(1)
        except WrongAnswer:
            raise
        except MeasurementError:
            return False
        return True

    def checked(self, count: int) -> list[Sample]:
        """Return the first samples with their right answers. Raises MeasurementError."""
        chosen = self.samples[:count]
        if self._actions is not None:
            return targets.check_states(self.target, chosen, self._actions[:count])
        return targets.check_pictures(self.target, chosen, self.content_type, self._reference)


def _under_load(check: _Check, server: ServerProcess, clients: int, seconds: float) -> Measured:
    cold_s = server.wait(check.ready)
    right, target = check.checked(len(check.samples)), check.target
    requests = target.requests(right, check.content_type)
    driver.run(target.job(requests, right, clients, WARM_S))
    process = driver.start(target.job(requests, right, clients, seconds))
    time.sleep(seconds * 0.6)
    memory_mb = server.memory_mb()
    result = driver.checked(driver.finish(process))
    return Measured(result.rate, result.latency(50), result.latency(99), cold_s, memory_mb)
