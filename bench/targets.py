"""The servers that requests go to, and the check that their answers are right.

Every server is checked with each sample before it is measured. Under load an answer is right if it contains the same
label or action as then.
"""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import requests

import engines
from bench.load_generator import Job
from bench.samples import FORM, JSON, Sample, multipart
from bench.server_process import MeasurementError, WrongAnswer
from settings import Settings

# How far a confidence may be from the right one: ways of resizing differ by a grey value here and there.
TOLERANCE = 0.03

_LABEL = re.compile(r'"label":\s*"([^"]*)"')
_CONFIDENCE = re.compile(r'"confidence":\s*([-+.\deE]+)')
_ACTION = re.compile(r'"action":\s*(\d+)')

Probabilities = Mapping[str, float]


@dataclass(frozen=True)
class Target:
    """A route of a server, and the headers that it needs."""

    host: str
    port: int
    path: str
    headers: str = ""

    def requests(self, samples: Sequence[Sample], content_type: str) -> list[str]:
        """Return the samples as whole HTTP requests, in base64."""
        return [base64.b64encode(self._request(sample.body, content_type)).decode() for sample in samples]

    def multipart(self, samples: Sequence[Sample]) -> list[str]:
        """Return the same with each picture as the file of a form."""
        return self.requests([multipart(sample) for sample in samples], FORM)

    def with_headers(self, more: str) -> "Target":
        """Return the same target with one more header line."""
        return replace(self, headers=self.headers + more + "\r\n")

    def job(self, requests: list[str], samples: Sequence[Sample], clients: int, seconds: float) -> Job:
        """Return a closed loop of these requests."""
        return Job(self.host, self.port, requests, [sample.expected for sample in samples], clients, seconds)

    def load(self, samples: Sequence[Sample], content_type: str, clients: int, seconds: float) -> Job:
        """Return a closed loop of these samples."""
        return self.job(self.requests(samples, content_type), samples, clients, seconds)

    def ask(self, sample: Sample, content_type: str) -> str:
        """Return the text of one answer. Raises MeasurementError unless its status is 200."""
        head = dict(line.split(": ", 1) for line in self.headers.splitlines())
        url = f"http://{self.host}:{self.port}{self.path}"
        try:
            answer = requests.post(url, sample.body, headers={**head, "Content-Type": content_type}, timeout=30)
        except requests.RequestException as error:
            raise MeasurementError(f"no answer: {type(error).__name__}") from None
        if answer.status_code != 200:
            raise MeasurementError(f"answers {answer.status_code}: {answer.text[:120]!r}")
        return answer.text

    def _request(self, body: bytes, content_type: str) -> bytes:
        head = f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: {content_type}\r\n{self.headers}"
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def engine(settings: Settings, model: str) -> Target:
    """Return the route of the engine itself."""
    with engines.connect(settings) as host:
        address = host.endpoint(model)
    parts = urlsplit(address.url)
    return Target(parts.hostname or "", parts.port or 80, parts.path, f"Authorization: {address.authorization}\r\n")


def gateway(settings: Settings, model: str) -> Target:
    """Return the route of the gateway."""
    return Target(settings.gateway.host, settings.gateway.port, f"/models/{model}/predict")


def answered_alone(target: Target, samples: Sequence[Sample], content_type: str) -> list[Sample]:
    """Return the samples with the label or action that this server answers to each alone."""
    return [replace(sample, expected=_prediction(target.ask(sample, content_type))) for sample in samples]


def check_pictures(
    target: Target, samples: Sequence[Sample], content_type: str, right: Sequence[Sequence[Probabilities]]
) -> list[Sample]:
    """Check the first answers by the framework's, and return the samples with theirs; they repeat as `right` does."""
    held = [check_label(target.ask(sample, content_type), each) for sample, each in zip(samples, right, strict=False)]
    return [replace(sample, expected=held[number % len(held)]) for number, sample in enumerate(samples)]


def check_states(target: Target, samples: Sequence[Sample], actions: Sequence[int]) -> list[Sample]:
    """Check the answers by the policy's actions, and return the samples with them."""
    return [
        replace(sample, expected=check_action(target.ask(sample, JSON), action))
        for sample, action in zip(samples, actions, strict=True)
    ]


def label(text: str) -> str:
    """Return the label of an answer, as it is written there. Raises WrongAnswer when there is none."""
    found = _LABEL.search(text)
    if found is None:
        raise WrongAnswer(f"no label in {text[:120]!r}")
    return found[0]


def check_label(text: str, right: Sequence[Probabilities]) -> str:
    """Return the label of an answer near one of the right ones. Raises WrongAnswer."""
    named, confidence = label(text), _CONFIDENCE.search(text)
    if confidence is None:
        raise WrongAnswer(f"no confidence in {text[:120]!r}")
    name, given = named.split('"')[-2], float(confidence[1])
    if not any(_near(name, given, chances) for chances in right):
        best = max(right[0], key=lambda each: right[0][each])
        raise WrongAnswer(f"says {name} {given:.3f}, the framework {best} {right[0][best]:.3f}")
    return named


def check_action(text: str, action: int) -> str:
    """Return the right action, as the answer writes it. Raises WrongAnswer."""
    found = _ACTION.search(text)
    if found is None or int(found[1]) != action:
        raise WrongAnswer(f"says {text[:120]!r}, the policy {action}")
    return found[0]


def _near(name: str, given: float, chances: Probabilities) -> bool:
    likeliest = max(chances.values())
    return chances.get(name, 0.0) >= likeliest - TOLERANCE and abs(given - likeliest) <= TOLERANCE


def _prediction(text: str) -> str:
    [prediction] = json.loads(text)["predictions"]
    name = "label" if "label" in prediction else "action"
    return json.dumps({name: prediction[name]}, separators=(",", ":"))[1:-1]
