"""The kinds of requests whose cost is measured, with what is right for each."""

import base64
import random
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bench import answers, pictures
from bench.client import Job
from bench.nodes import Nodes
from bench.targets import Sample, Target, states
from demo import digits

PICTURE_BYTES = 200_000
VARIANTS = 64
LARGE, SMALL, STATE = "digits-200kb", "digits", "cartpole"
MODELS = ("digits", "cartpole")


@dataclass(frozen=True)
class Workload:
    """What is sent, to which model, by how many clients for each engine."""

    title: str
    model: str
    content_type: str
    clients: int
    make: Callable[[], list[Sample]]

    def target(self, stack: Nodes) -> Target:
        """The gateway's route."""
        host, port = stack.gateway
        return Target(host, port, f"/models/{self.model}/predict")

    def samples(self, stack: Nodes) -> list[Sample]:
        """The inputs with what the stack answers to each alone: under load it must say the same."""
        return answers.as_told(self.target(stack), self.make(), self.content_type)

    def job(self, stack: Nodes, samples: list[Sample], seconds: float, clients: int | None = None) -> Job:
        """A closed loop."""
        target = self.target(stack)
        return target.job(target.requests(samples, self.content_type), samples, clients or self.clients, seconds)


def _large() -> list[Sample]:
    picture = pictures.of_bytes(PICTURE_BYTES, random.Random(0))  # noqa: S311 - a picture for a load, nothing secret
    return [Sample(picture + number.to_bytes(4, "big")) for number in range(VARIANTS)]


def _small() -> list[Sample]:
    _, unseen = digits.load_split()
    return [Sample(digits.png(image)) for image in unseen.images[:VARIANTS]]


WORKLOADS: Mapping[str, Workload] = {
    LARGE: Workload("pictures of 200 KB", "digits", "image/jpeg", 16, _large),
    SMALL: Workload("pictures of 128 x 128", "digits", "image/png", 16, _small),
    STATE: Workload("single states", "cartpole", "application/json", 256, states),
}


def exchanged(target: Target, sample: Sample, content_type: str) -> tuple[int, int]:
    """Bytes of one request and of its answer, headers included, as they are on the connection."""
    [encoded] = target.with_headers("Connection: close").requests([sample], content_type)
    request = base64.b64decode(encoded)
    with socket.create_connection((target.host, target.port), timeout=30) as connection:
        connection.sendall(request)
        answer = 0
        while chunk := connection.recv(65536):
            answer += len(chunk)
    return len(request), answer
