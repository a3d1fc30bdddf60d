import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers import explain
from handlers.errors import InvalidFields, NotSupported
from handlers.runtimes.pytorch import TorchRuntime
from tests.handlers import archives
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, parsed, picture

pytest.importorskip("captum")
INPUTS = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], dtype=np.float32)
ZERO = np.zeros(3, dtype=np.float32)


def runtime(network: Callable[[torch.Tensor], torch.Tensor]) -> TorchRuntime:
    return TorchRuntime(network, torch.device("cpu"), ("logits",))


def explained(network: Callable[[torch.Tensor], torch.Tensor], targets: list[int]) -> NDArray[np.float64]:
    return explain.attributions(runtime(network), INPUTS, ZERO, np.array(targets))


def test_linear_network_attributes_weight_times_value() -> None:
    weights = torch.tensor([[1.0, -2.0, 0.5], [3.0, 0.0, 1.0]])
    assert explained(lambda x: x @ weights.T, [0, 1]) == pytest.approx(
        np.array([[1.0, -4.0, 1.5], [1.5, 0.0, 0.0]]), abs=1e-5
    )


def test_attributions_add_up_to_the_change_of_the_target(linear: torch.nn.Module) -> None:
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

    with pytest.raises(NotSupported, match=r"served_model\.artifact=eager or torchscript"):
        explain.attributions(onnx, INPUTS, ZERO, np.array([0, 0]))


def test_a_worker_without_captum_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)
    with pytest.raises(NotSupported, match=r"captum, which is not installed.*requirements-explain\.txt"):
        explained(lambda x: x, [0, 1])


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [(None, 2), ("cat", 0), (b"dog", 1), ("2", 2), (1, 1)],
    ids=["none", "text", "bytes", "digits", "int"],
)
def test_target_is_name_number_or_predicted_class(wanted: object, chosen: int) -> None:
    assert explain.target(wanted, ("cat", "dog", "bird"), 2) == chosen


@pytest.mark.parametrize("wanted", ["cow", "3", "-1", b"\xff", True, ["cat"]])
def test_a_target_that_the_model_does_not_have_is_named(wanted: object) -> None:
    with pytest.raises(InvalidFields, match="target: the model has no class"):
        explain.target(wanted, ("cat", "dog", "bird"), 2)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch announces the end of the format
class TestAWorker:
    """Explanations beside predictions, in one batch."""

    @pytest.fixture
    def colours(self, load: Load, tmp_path: Path) -> Worker:
        artifact = {"format": "torchscript", "file": "model.pt"}
        return load(archives.vision(tmp_path, archives.vision_card(artifact=artifact)))

    @pytest.fixture
    def steering(self, load: Load, tmp_path: Path) -> Worker:
        card = archives.policy_card(artifact={"format": "torchscript", "file": "model.pt"})
        return load(archives.policy(tmp_path, card), "policy_handler.py")

    def test_image_is_explained_beside_a_prediction(self, colours: Worker) -> None:
        red = archives.png((255, 0, 0))
        explained, predicted = colours.answer(picture(red, explain="True"), picture(red))
        (item,) = explained.json["explanations"]
        assert (explained.status, item["label"]) == (200, "red")
        shares = np.array(item["attributions"])
        assert shares.shape == (4, 4)
        assert shares.min() > 0  # each red pixel speaks for red
        assert [each["label"] for each in predicted.predictions] == ["red"]

    def test_a_graph_that_resizes_pictures_itself_has_no_explanations(self, load: Load, tmp_path: Path) -> None:
        artifact = {"format": "onnx", "file": "model.onnx", "preprocessing": True}
        red = archives.png((255, 0, 0), (4, 4))
        golden = {"tolerance": 1e-4, "samples": [archives.sample("image/png", red, [archives.RED])]}
        worker = load(archives.vision(tmp_path, archives.vision_card(artifact=artifact), golden))
        answer = worker.one(picture(red, explain="True"))
        assert answer.error == (501, "not_supported")

    def test_a_client_may_ask_why_another_class_was_not_chosen(self, colours: Worker) -> None:
        body = {"image": [[[255, 40, 0]]], "target": "green"}
        (item,) = colours.one(parsed(body, explain="True")).json["explanations"]
        assert item["label"] == "green"
        assert np.array(item["attributions"]).min() > 0

    def test_action_is_explained_by_its_observation(self, steering: Worker) -> None:
        answer = steering.one(parsed([0.1, 0.9, 0.0, 0.0], explain="True"))
        (item,) = answer.json["explanations"]
        assert item["action"] == steering.one(parsed([0.1, 0.9, 0.0, 0.0])).predictions[0]["action"]
        assert np.abs(np.ravel(list(item["attributions"].values()))).max() > 0

    def test_a_bad_request_for_an_explanation_fails_alone(self, colours: Worker) -> None:
        bad = parsed({"image": [[[255, 0, 0]]], "target": "mauve"}, explain="True")
        refused, fine = colours.answer(bad, picture(archives.png((0, 0, 255))))
        assert refused.error == (422, "invalid_fields")
        assert [each["label"] for each in fine.predictions] == ["blue"]
