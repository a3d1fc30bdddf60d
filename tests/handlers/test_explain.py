import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers import explain
from handlers.errors import InvalidFields, NotSupported
from handlers.runtimes._torch import TorchRuntime

pytest.importorskip("captum")
INPUTS = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], dtype=np.float32)
ZERO = np.zeros(3, dtype=np.float32)


def runtime(network: Callable[[torch.Tensor], torch.Tensor]) -> TorchRuntime:
    return TorchRuntime(network, torch.device("cpu"), ("logits",))


def explained(network: Callable[[torch.Tensor], torch.Tensor], targets: list[int]) -> NDArray[np.float64]:
    return explain.attributions(runtime(network), INPUTS, ZERO, np.array(targets))


def test_in_a_linear_network_each_input_gets_its_weight_times_its_value() -> None:
    weights = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]])
    assert explained(lambda x: x @ weights.T, [0, 1]) == pytest.approx(
        np.array([[1.0, -4.0, 1.5], [1.5, 0.0, 0.0]]), abs=1e-5
    )


def test_shares_add_up_to_what_the_input_changed_in_the_target(linear: torch.nn.Module) -> None:
    def network(values: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = torch.tanh(linear(values))
        return scores

    given, at_zero = network(torch.from_numpy(INPUTS)), network(torch.zeros(2, 3))
    changed = (given - at_zero).detach().numpy()[range(2), [1, 3]]
    assert explained(network, [1, 3]).sum(axis=1) == pytest.approx(changed, abs=0.01)


@pytest.fixture
def linear() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Linear(3, 4)


def test_a_format_without_gradients_says_which_have_some() -> None:
    def onnx(inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {"logits": inputs}

    with pytest.raises(NotSupported, match="eager and torchscript have"):
        explain.attributions(onnx, INPUTS, ZERO, np.array([0, 0]))


def test_a_worker_without_captum_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(NotSupported, match="captum, which is not installed"):
        explained(lambda x: x, [0, 1])


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [(None, 2), ("cat", 0), (b"dog", 1), ("2", 2), (1, 1)],
    ids=["none", "text", "bytes", "digits", "int"],
)
def test_a_target_is_a_name_or_a_number_and_else_what_was_answered(wanted: object, chosen: int) -> None:
    assert explain.target(wanted, ("cat", "dog", "bird"), 2) == chosen


@pytest.mark.parametrize("wanted", ["cow", "3", "-1", b"\xff", True, ["cat"]])
def test_a_target_that_the_model_does_not_have_is_named(wanted: object) -> None:
    with pytest.raises(InvalidFields, match="target: the model has no class"):
        explain.target(wanted, ("cat", "dog", "bird"), 2)
