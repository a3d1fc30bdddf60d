"""What a client sends next: samples in turn, or whatever the world it plays in shows it."""

from collections.abc import Sequence
from typing import Protocol

from loadtest.client import Outcome
from loadtest.sample import Sample


class Feed(Protocol):
    """Gives each client its next request and is told what came of it."""

    def next(self, client: int, number: int) -> Sample:
        """What `client` sends as the run's request `number`."""

    def told(self, client: int, outcome: Outcome) -> None:
        """The outcome of that client's last request."""


class InTurn:
    """Prepared samples, one after the other, whoever asks."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self._samples = samples

    def next(self, client: int, number: int) -> Sample:
        """The next of the samples, from the front again after the last."""
        return self._samples[number % len(self._samples)]

    def told(self, client: int, outcome: Outcome) -> None:
        """Nothing follows from an answer."""
