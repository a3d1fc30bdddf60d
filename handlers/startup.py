"""What a worker does before it says it is ready: it answers the golden requests, then runs every batch size once."""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from handlers import golden
from handlers.batch import Outputs
from handlers.card import Card
from handlers.errors import RequestError
from handlers.golden import Golden, Sample

Read = Callable[[Sample], NDArray[np.generic]]
Forward = Callable[[NDArray[np.generic]], Outputs]


def verify(answers: Golden, card: Card, read: Read, forward: Forward) -> NDArray[np.generic]:
    """Answer every golden request and return their inputs [k, ...].

    Raises ValueError when a request is refused or an answer leaves the tolerance: such a worker must not serve.
    """
    inputs = []
    for number, sample in enumerate(answers.samples):
        try:
            inputs.append(read(sample))
            given = card.predictions(forward(inputs[-1]))
        except RequestError as error:
            raise ValueError(f"golden request {number} is refused: {error.detail}") from error
        if difference := golden.outside(sample.predictions, given, answers.tolerance):
            raise ValueError(f"golden answer {number} is not met: {difference}; the tolerance is {answers.tolerance}")
    return np.concatenate(inputs)


def warm_up(inputs: NDArray[np.generic], batch_size: int, forward: Forward) -> None:
    """Run batches of 1, 2, 4, ... and `batch_size` instances, so that no request pays for a first run."""
    for size in _sizes(batch_size):
        forward(np.resize(inputs, (size, *inputs.shape[1:])))


def _sizes(batch_size: int) -> Iterator[int]:
    size = 1
    while size < batch_size:
        yield size
        size *= 2
    yield batch_size
