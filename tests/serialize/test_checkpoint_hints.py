"""Advice for checkpoints whose heads have no bias, and for networks without tensors."""

import torch

from serialize.checkpoint_hints import OWN, checkpoint_hint


def test_head_without_bias_tells_the_number_of_labels() -> None:
    state = {"body.weight": torch.zeros(4, 2), "head.weight": torch.zeros(5, 4)}
    assert checkpoint_hint(state, state | {"head.weight": torch.zeros(3, 4)}) == "name 5 labels"


def test_network_without_a_weight_at_its_end_gets_the_general_advice() -> None:
    assert checkpoint_hint({}, {"body.weight": torch.zeros(4, 2), "scale": torch.zeros(1)}) == OWN
    assert checkpoint_hint({}, {}) == OWN
