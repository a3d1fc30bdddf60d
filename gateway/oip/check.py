"""Holds the inputs of a request against what the model reads; every mistake is a 400 that says what was expected."""

from collections.abc import Sequence
from math import prod

from errors import UnreadableInput
from gateway.oip.tensors import Tensor, TensorSpec


def all_inputs(inputs: Sequence[Tensor], specs: Sequence[TensorSpec], model: str) -> tuple[Tensor, ...]:
    """The tensors that the model reads, in its order.

    Raises UnreadableInput for any other set, datatype, shape or length, and for different numbers of instances.
    """
    known = {spec.name for spec in specs}
    for sent in inputs:
        if sent.name not in known:
            names = ", ".join(f"'{spec.name}'" for spec in specs)
            raise UnreadableInput(f"model '{model}' has no input '{sent.name[:80]}'; it reads {names}")
    found = tuple(_checked([sent for sent in inputs if sent.name == spec.name], spec, model) for spec in specs)
    if len({sent.shape[0] for sent in found}) > 1:
        counts = ", ".join(f"'{sent.name}' {sent.shape[0]}" for sent in found)
        raise UnreadableInput(f"the inputs of model '{model}' hold different numbers of instances: {counts}")
    return found


def _checked(inputs: Sequence[Tensor], spec: TensorSpec, model: str) -> Tensor:
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
