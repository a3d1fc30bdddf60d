"""What passes between the stages of a handler: one batch of requests, each with its own outcome so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from handlers.errors import HandlerError

Outputs = Mapping[str, NDArray[Any]]
"""The network's outputs by name; the first dimension of each counts the instances."""


@dataclass(frozen=True, eq=False)
class Reading:
    """One request: its instances [k, ...], and what it asks for beside them, which joins the network's outputs."""

    inputs: NDArray[Any]
    asked: Outputs


@dataclass(frozen=True, eq=False)
class Batch:
    """After `preprocess`: per request what was read of it, or why nothing was."""

    requests: tuple[Reading | HandlerError, ...]
    decode_s: float

    @property
    def readable(self) -> list[NDArray[Any]]:
        """Instances of the requests that have some, in order."""
        return [request.inputs for request in self.requests if not isinstance(request, HandlerError)]


@dataclass(frozen=True, eq=False)
class Forwarded:
    """After `inference`: per request the network's outputs for its instances, or why there are none."""

    requests: tuple[Outputs | HandlerError, ...]
    decode_s: float
    forward_s: float
