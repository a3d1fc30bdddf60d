"""The parity gate holds logits to the spread between them: the softmax of random weights is flat, whatever is wrong."""

from pathlib import Path
from typing import Any

import pytest
import torch

from errors import ParityError
from serialize.build import build
from serialize.formats import FORMATS
from serialize.formats.eager import Eager
from tests.serialize.conftest import Compose

NETWORK = """
from torch import nn


class Faint(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, images):
        return self.head(self.conv(images).relu().mean((2, 3))) * 1e-4
"""
FAULT = 0.02


class SlightlyOff(Eager):
    """An exporter with a fault that no probability shows: a logit of some 0.0001 is off by a hundredth of it."""

    def export(self, source: Any, target: Path) -> dict[str, Any]:
        details = super().export(source, target)
        state = torch.load(target, weights_only=True)
        state["network.head.bias"][0] += FAULT
        torch.save(state, target)
        return details


def test_fault_that_no_probability_shows_is_refused(
    compose: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "faint.py").write_text(NETWORK)
    network = f"served_model.network={tmp_path / 'faint.py'}:Faint"
    words = ("served_model.weights=random", "served_model.labels=[a,b,c]", "served_model.artifact=eager")
    size = "served_model.preprocessing.resize=[16,16]"
    built = build(compose("digits", network, *words, size))
    assert built.parity.output < 1e-5

    monkeypatch.setitem(FORMATS, "eager", SlightlyOff())
    with pytest.raises(ParityError, match=r"worst first: request \d .*logits\[0, 0\] is") as refused:
        build(compose("digits", network, *words, size))
    assert "answer" not in str(refused.value).partition("worst first")[2]
