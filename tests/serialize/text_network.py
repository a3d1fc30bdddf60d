"""The user's module of a `tensors` model that reads and returns text, which no graph of torch can."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn


class Shout(nn.Module):
    """text [N] of bytes, times INT64 [N] → the text in capitals, repeated, and its length."""

    def __init__(self, mark: str = "!") -> None:
        super().__init__()
        self.mark = mark.encode()

    def forward(self, text: NDArray[np.object_], times: torch.Tensor) -> dict[str, object]:
        found = [each.upper() * int(count) + self.mark for each, count in zip(text, times, strict=True)]
        return {"length": torch.tensor([len(each) for each in found]), "loud": np.array(found, object)}
