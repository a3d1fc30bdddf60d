"""The same question as TorchServe and as the gateway are asked it: whole HTTP requests, ready to send."""

import base64
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import engines
from bench.client import Job
from loadtest.inputs import generate_images
from settings import Settings

PICTURE_SIZE = (727, 1200)  # height, width in pixels
BOUNDARY = "marina-bench-boundary"
FORM = f"multipart/form-data; boundary={BOUNDARY}"
PICTURES, VARIANTS, STATES = 8, 128, 2048


@dataclass(frozen=True)
class Sample:
    """One input, and what the right answer to it holds."""

    body: bytes
    expected: str = ""


def pictures() -> list[Sample]:
    """JPEGs that all differ, so that no two requests in flight are the same: bytes after the end change no pixel."""
    made = generate_images(PICTURES, *PICTURE_SIZE, random.Random(0))  # noqa: S311 - inputs for a load, nothing secret
    return [Sample(made[n % PICTURES].body + n.to_bytes(4, "big")) for n in range(VARIANTS)]


def states() -> list[Sample]:
    """Different states of CartPole, inside its limits."""
    draw = random.Random(0)  # noqa: S311 - as above
    names = ("cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity")
    return [
        Sample(json.dumps({name: round(draw.uniform(-0.2, 0.2), 6) for name in names}).encode()) for _ in range(STATES)
    ]


def form_of(sample: Sample) -> Sample:
    """The picture as the file `data` of a form, sent as FORM."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="data"; filename="p.jpg"\r\n'
    head += "Content-Type: image/jpeg\r\n\r\n"
    return replace(sample, body=head.encode() + sample.body + f"\r\n--{BOUNDARY}--\r\n".encode())


@dataclass(frozen=True)
class Target:
    """Where requests go, and the headers that they need there."""

    host: str
    port: int
    path: str
    headers: str = ""

    def requests(self, samples: Sequence[Sample], content_type: str) -> list[str]:
        """The samples as HTTP requests, in base64."""
        return [base64.b64encode(self._request(sample.body, content_type)).decode() for sample in samples]

    def multipart(self, samples: Sequence[Sample]) -> list[str]:
        """The same with each picture as the file of a form."""
        return self.requests([form_of(sample) for sample in samples], FORM)

    def with_headers(self, more: str) -> "Target":
        """The same with one more header line."""
        return replace(self, headers=self.headers + more + "\r\n")

    def job(self, requests: list[str], samples: Sequence[Sample], clients: int, seconds: float) -> Job:
        """A closed loop."""
        return Job(self.host, self.port, requests, [sample.expected for sample in samples], clients, seconds)

    def _request(self, body: bytes, content_type: str) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {content_type}\r\n{self.headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def engine(settings: Settings, model: str) -> Target:
    """The engine itself."""
    with engines.connect(settings) as host:
        address = host.endpoint(model)
    parts = urlsplit(address.url)
    return Target(parts.hostname or "", parts.port or 80, parts.path, f"Authorization: {address.authorization}\r\n")


def gateway(settings: Settings, model: str) -> Target:
    """The gateway in front of it."""
    return Target(settings.gateway.host, settings.gateway.port, f"/models/{model}/predict")
