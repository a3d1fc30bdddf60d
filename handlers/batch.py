"""What passes between the stages of a handler: one batch of requests, each with its own outcome so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from handlers.deadline import Deadline
from handlers.errors import RequestError

Outputs = Mapping[str, NDArray[Any]]
"""The network's outputs by name; the first dimension of each counts the instances."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One request: its instances [k, ...], its deadline, and what it asks for beside, which joins the outputs."""

    inputs: NDArray[Any]
    asked: Outputs
    until: Deadline


@dataclass(frozen=True, eq=False)
class Question:
    """One request for explanations: its instances [k, ...], and of which class, as the client named it, or None."""

    inputs: NDArray[Any]
    target: Any
    until: Deadline


@dataclass(frozen=True, eq=False)
class Explained:
    """Why the model answers a request as it does: one explanation an instance, as a client reads it."""

    explanations: list[dict[str, Any]]


@dataclass(frozen=True, eq=False)
class Batch:
    """After `preprocess`: per request what was read of it, or why nothing was."""

    requests: tuple[Reading | Question | RequestError, ...]
    decode_s: float

    @property
    def readable(self) -> list[NDArray[Any]]:
        """Instances of the requests that want predictions, in order."""
        return [request.inputs for request in self.requests if isinstance(request, Reading)]


@dataclass(frozen=True, eq=False)
class Forwarded:
    """After `inference`: per request the network's outputs for its instances or their explanations, or why not."""

    requests: tuple[Outputs | Explained | RequestError, ...]
    decode_s: float
    forward_s: float
