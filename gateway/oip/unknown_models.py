"""The error about an unknown model in Triton's words: its clients look for their beginning."""

from collections.abc import Iterator
from contextlib import contextmanager

from errors import UnknownModel


@contextmanager
def in_tritons_words() -> Iterator[None]:
    """Begin the text of an UnknownModel as Triton does."""
    try:
        yield
    except UnknownModel as error:
        raise UnknownModel(f"Request for unknown model: {error.detail}", headers=error.headers) from None
