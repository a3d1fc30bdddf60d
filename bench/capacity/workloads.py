"""The kinds of requests whose cost is measured, with the right answer to each."""

import base64
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench import samples, targets
from bench.engine_nodes import NodeStack
from bench.load_generator import Job
from bench.samples import JPEG, JSON, Sample
from bench.targets import Target
from demo import digits

PICTURE_BYTES = 200_000
VARIANTS = 64
LARGE, SMALL, STATE = "digits-200kb", "digits", "cartpole"
MODELS = ("digits", "cartpole")


@dataclass(frozen=True)
class Workload:
    """The inputs, their model, and the clients for each engine."""

    title: str
    model: str
    content_type: str
    clients: int
    make: Callable[[], list[Sample]]

    def target(self, stack: NodeStack) -> Target:
        """Return the gateway's route."""
        address = urlsplit(stack.gateway)
        return Target(str(address.hostname), int(address.port or 80), f"/models/{self.model}/predict")

    def samples(self, stack: NodeStack) -> list[Sample]:
        """Return the inputs with the stack's answer to each alone, which must be the same under load."""
        return targets.answered_alone(self.target(stack), self.make(), self.content_type)

    def job(self, stack: NodeStack, sent: list[Sample], seconds: float, clients: int | None = None) -> Job:
        """Return a closed loop."""
        return self.target(stack).load(sent, self.content_type, clients or self.clients, seconds)


def _large() -> list[Sample]:
    picture = samples.of_bytes(PICTURE_BYTES, random.Random(0))  # noqa: S311 - a picture for a load, nothing secret
    return samples.numbered([picture], VARIANTS)


def _small() -> list[Sample]:
    _, unseen = digits.load_split()
    return [Sample(digits.png(image)) for image in unseen.images[:VARIANTS]]


WORKLOADS: Mapping[str, Workload] = {
    LARGE: Workload("pictures of 200 KB", "digits", JPEG, 16, _large),
    SMALL: Workload("pictures of 128 x 128", "digits", "image/png", 16, _small),
    STATE: Workload("single states", "cartpole", JSON, 256, samples.states),
}


def exchanged_bytes(target: Target, sample: Sample, content_type: str) -> tuple[int, int]:
    """Return the bytes of one request and of its answer on the connection, headers included."""
    [encoded] = target.with_headers("Connection: close").requests([sample], content_type)
    request = base64.b64decode(encoded)
    with socket.create_connection((target.host, target.port), timeout=30) as connection:
        connection.sendall(request)
        answer = 0
        while chunk := connection.recv(65536):
            answer += len(chunk)
    return len(request), answer
