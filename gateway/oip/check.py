"""Holds the inputs of a request against what the model reads; every mistake is a 400 that says what was expected."""

from collections.abc import Sequence
from math import prod

from errors import UnreadableInput
from gateway.oip.tensors import Tensor, TensorSpec


def only_input(inputs: Sequence[Tensor], spec: TensorSpec, model: str) -> Tensor:
    """The one tensor that the model reads. Raises UnreadableInput for any other set, datatype, shape or length."""
    for sent in inputs:
        if sent.name != spec.name:
            raise UnreadableInput(f"model '{model}' has no input '{sent.name[:80]}'; it reads '{spec.name}'")
    if len(inputs) != 1:
        raise UnreadableInput(f"model '{model}' reads the input '{spec.name}' once; it was sent {len(inputs)} times")
    (sent,) = inputs
    if sent.datatype != spec.datatype:
        raise UnreadableInput(
            f"input '{spec.name}' of model '{model}' has datatype {spec.datatype}, not {sent.datatype[:20]}"
        )
    if not _fits(sent.shape, spec.shape):
        raise UnreadableInput(
            f"unexpected shape of input '{spec.name}' of model '{model}': "
            f"expected {list(spec.shape)}, got {list(sent.shape)[:8]}"
        )
    if sent.shape[0] == 0:
        raise UnreadableInput(f"input '{spec.name}' of model '{model}' holds no instance")
    if len(sent.values) != prod(sent.shape):
        raise UnreadableInput(
            f"input '{spec.name}' of shape {list(sent.shape)} has {prod(sent.shape)} elements, "
            f"{len(sent.values)} were sent"
        )
    return sent


def _fits(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    if len(shape) != len(wanted):
        return False
    return all(size >= 0 and expected in (-1, size) for size, expected in zip(shape, wanted, strict=True))
