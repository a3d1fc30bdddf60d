"""Errors in Triton's words: its clients look for their beginning."""

from collections.abc import Iterator
from contextlib import contextmanager

from errors import RequestError, UnknownModel


@contextmanager
def in_tritons_words() -> Iterator[None]:
    """Begin the text of an UnknownModel as Triton does."""
    try:
        yield
    except UnknownModel as error:
        raise UnknownModel(f"Request for unknown model: {error.detail}", headers=error.headers) from None


@contextmanager
def failing_to_load(model: str) -> Iterator[None]:
    """Begin the text of every error of a load as Triton does."""
    try:
        yield
    except RequestError as error:
        raise type(error)(f"failed to load '{model[:80]}', {error.detail}", headers=error.headers) from error
