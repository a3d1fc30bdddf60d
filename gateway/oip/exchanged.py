"""An inference between the wires and the engine: the request and the response, free of REST and gRPC."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from errors import UnreadableInput
from gateway.oip.tensors import Tensor


@dataclass(frozen=True, slots=True)
class RequestedOutput:
    """An output that the client asked for; `classes` above 0 asks for that many best classes instead of numbers."""

    name: str
    classes: int = 0
    binary: bool = False


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks; `outputs` is None for all of them, `id` the client's own and only repeated."""

    model: str
    version: str | None
    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] | None
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class InferResponse:
    """What the client is answered."""

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]
    parameters: Mapping[str, Any]


def timeout_s(parameters: Mapping[str, Any]) -> float | None:
    """Seconds that the request may take by its own parameter `timeout`, which is in microseconds; None for none.

    Raises UnreadableInput when it is no whole number of microseconds.
    """
    timeout = parameters.get("timeout")
    if timeout is None or timeout == 0:
        return None
    if type(timeout) is not int or timeout < 0:
        raise UnreadableInput("the parameter timeout must be a whole number of microseconds")
    return timeout / 1e6
