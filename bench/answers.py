"""Whether a server answers rightly, found out before it counts; and what its answers must then hold under load."""

import base64
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

import requests

from bench.server import Failed, Wrong
from bench.targets import Sample, Target

# How far a confidence may be from the right one: ways of resizing differ by a grey value here and there.
TOLERANCE = 0.03

_LABEL = re.compile(r'"label":\s*"([^"]*)"')
_CONFIDENCE = re.compile(r'"confidence":\s*([-+.\deE]+)')
_ACTION = re.compile(r'"action":\s*(\d+)')


def ask(target: Target, sample: Sample, content_type: str) -> str:
    """The text of one answer; raises Failed when it is no answer."""
    head = dict(line.split(": ", 1) for line in target.headers.splitlines())
    url = f"http://{target.host}:{target.port}{target.path}"
    try:
        answer = requests.post(url, sample.body, headers={**head, "Content-Type": content_type}, timeout=30)
    except requests.RequestException as error:
        raise Failed(f"no answer: {type(error).__name__}") from None
    if answer.status_code != 200:
        raise Failed(f"answers {answer.status_code}: {answer.text[:120]!r}")
    return answer.text


def as_told(target: Target, samples: Sequence[Sample], content_type: str) -> list[Sample]:
    """The samples with the label or action that this server gives each alone: asked otherwise it must say the same."""
    return [replace(sample, expected=_told(ask(target, sample, content_type))) for sample in samples]


def _told(text: str) -> str:
    [prediction] = json.loads(text)["predictions"]
    name = "label" if "label" in prediction else "action"
    return json.dumps({name: prediction[name]}, separators=(",", ":"))[1:-1]


def label(text: str) -> str:
    """The label of an answer, as it is written there; raises Wrong when there is none."""
    found = _LABEL.search(text)
    if found is None:
        raise Wrong(f"no label in {text[:120]!r}")
    return found[0]


def picture(text: str, right: Sequence[Mapping[str, float]]) -> str:
    """What a right answer to this picture holds; raises Wrong when this one is near none of the right ones."""
    named, confidence = label(text), _CONFIDENCE.search(text)
    if confidence is None:
        raise Wrong(f"no confidence in {text[:120]!r}")
    name, given = named.split('"')[-2], float(confidence[1])
    if not any(_near(name, given, chances) for chances in right):
        best = max(right[0], key=lambda each: right[0][each])
        raise Wrong(f"says {name} {given:.3f}, the framework {best} {right[0][best]:.3f}")
    return named


def _near(name: str, given: float, chances: Mapping[str, float]) -> bool:
    likeliest = max(chances.values())
    return chances.get(name, 0.0) >= likeliest - TOLERANCE and abs(given - likeliest) <= TOLERANCE


def state(text: str, action: int) -> str:
    """The same for a state."""
    found = _ACTION.search(text)
    if found is None or int(found[1]) != action:
        raise Wrong(f"says {text[:120]!r}, the policy {action}")
    return found[0]


def with_pictures(
    target: Target, samples: Sequence[Sample], content_type: str, right: Sequence[Sequence[Mapping[str, float]]]
) -> list[Sample]:
    """The samples with what their answers hold; they repeat as `right` does."""
    held = [picture(ask(target, sample, content_type), each) for sample, each in zip(samples, right, strict=False)]
    return [replace(sample, expected=held[number % len(held)]) for number, sample in enumerate(samples)]


def with_states(target: Target, samples: Sequence[Sample], actions: Sequence[int]) -> list[Sample]:
    """The same for states."""
    return [
        replace(sample, expected=state(ask(target, sample, "application/json"), action))
        for sample, action in zip(samples, actions, strict=True)
    ]


def base64_json(sample: Sample) -> Sample:
    """A picture as `{"image": base64}`."""
    return replace(sample, body=json.dumps({"image": base64.b64encode(sample.body).decode()}).encode())
