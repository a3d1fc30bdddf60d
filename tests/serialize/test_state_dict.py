"""A user's weights fit, or the reason they do not is named."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from errors import BuildError
from handlers import networks
from serialize.formats import torchscript
from serialize.state_dict import fill
from serialize.vision_loader import read_vision
from settings.schema import VisionModel
from tests.serialize.conftest import Compose


@pytest.fixture
def model(compose: Compose) -> VisionModel:
    found = compose("weather").served_model
    assert isinstance(found, VisionModel)
    return found


def plain_state(classes: int = 11, name: str = "mobilenet_v3_small") -> dict[str, Any]:
    spec = {"type": "torchvision", "name": name, "classes": classes, "mean": [0.5] * 3, "std": [0.5] * 3}
    torch.manual_seed(5)
    network = networks.build_network(spec)
    assert isinstance(network, networks.ImageClassifier)
    return dict(network.network.state_dict())


def read(model: VisionModel, tmp_path: Path, content: object) -> torch.Tensor:
    path = tmp_path / "weights.pt"
    torch.save(content, path)
    source = read_vision(model, path)
    with torch.inference_mode():
        output: torch.Tensor = source.network(torch.full((1, 64, 64, 3), 77, dtype=torch.uint8))
    return output


def refused(model: VisionModel, path: Path, words: str) -> None:
    with pytest.raises(BuildError, match=words) as caught:
        read_vision(model, path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module.model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_prefixes_and_wrappers_of_training_scripts_are_stripped(
    model: VisionModel, tmp_path: Path, prefix: str, wrapper: str | None
) -> None:
    state = plain_state()
    expected = read(model, tmp_path, state)
    prefixed = {f"{prefix}{name}": value for name, value in state.items()}
    assert torch.equal(read(model, tmp_path, {wrapper: prefixed, "epoch": 3} if wrapper else prefixed), expected)


def test_network_scales_and_normalises_as_torchvision(model: VisionModel, tmp_path: Path) -> None:
    from torchvision.transforms import v2

    state = plain_state()
    path = tmp_path / "weights.pt"
    torch.save(state, path)
    network = read_vision(model, path).network
    pixels = torch.randint(0, 256, (3, 64, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    steps = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(**model.preprocessing.normalisation)])
    assert isinstance(network, networks.ImageClassifier)
    with torch.inference_mode():
        expected = network.network(steps(pixels.permute(0, 3, 1, 2)))
        assert torch.allclose(network(pixels), expected, atol=1e-5)


def test_checkpoints_without_batch_counters_are_read(model: VisionModel, tmp_path: Path) -> None:
    state = {name: value for name, value in plain_state().items() if not name.endswith("num_batches_tracked")}
    assert torch.equal(read(model, tmp_path, state), read(model, tmp_path, plain_state()))


def test_another_number_of_classes_says_which_labels_to_check(model: VisionModel, tmp_path: Path) -> None:
    torch.save(plain_state(classes=24), tmp_path / "w.pt")
    words = r"classifier.3.weight is 24x1024, expected 11x1024; the checkpoint has 24 classes, .*labels names 11"
    refused(model, tmp_path / "w.pt", words)


def test_another_network_names_what_is_missing_and_unknown(model: VisionModel, tmp_path: Path) -> None:
    torch.save(plain_state(name="resnet18"), tmp_path / "w.pt")
    refused(
        model,
        tmp_path / "w.pt",
        r"lacks features.0.0.weight 16x3x3x3, .* more; has unknown conv1.weight 64x3x7x7, .* more; "
        r".*served_model\.network=torchvision/resnet18$",
    )


@pytest.mark.parametrize("other", ["state_dict_ema", "model"])
def test_checkpoint_with_two_fitting_state_dicts_needs_the_key(model: VisionModel, tmp_path: Path, other: str) -> None:
    first, second = plain_state(), {name: value + 1 for name, value in plain_state().items()}
    content = {"state_dict": first, other: second}
    torch.save(content, tmp_path / "w.pt")
    refused(model, tmp_path / "w.pt", f"state_dict, {other} all fit; .*served_model.checkpoint_key=state_dict")
    for key, state in content.items():
        chosen = model.model_copy(update={"checkpoint_key": key})
        assert torch.equal(read(chosen, tmp_path, content), read(model, tmp_path, state))
        torch.save(content, tmp_path / "weights.pt")
        assert read_vision(chosen, tmp_path / "weights.pt").checkpoint_key == key


def test_checkpoint_average_beside_the_weights_fits_as_well(model: VisionModel, tmp_path: Path) -> None:
    average = {"n_averaged": torch.tensor(3), **{f"module.{name}": value for name, value in plain_state().items()}}
    assert torch.equal(read(model, tmp_path, average), read(model, tmp_path, plain_state()))
    torch.save({"model": plain_state(), "model_ema": average}, tmp_path / "w.pt")
    refused(model, tmp_path / "w.pt", "model, model_ema all fit")


def test_checkpoint_of_two_networks_fills_the_fitting_one(model: VisionModel, tmp_path: Path) -> None:
    content = {"teacher": plain_state(name="resnet18"), "student": {"weights": plain_state()}, "epoch": 3}
    assert torch.equal(read(model, tmp_path, content), read(model, tmp_path, plain_state()))
    torch.save(content, tmp_path / "weights.pt")
    assert read_vision(model, tmp_path / "weights.pt").checkpoint_key == "student.weights"


def test_checkpoint_of_two_networks_none_fits_tells_of_each(model: VisionModel, tmp_path: Path) -> None:
    content = {"teacher": plain_state(name="resnet18"), "student": plain_state(classes=3)}
    torch.save(content, tmp_path / "w.pt")
    refused(model, tmp_path / "w.pt", "teacher: lacks features.*; student: classifier.3.weight is 3x1024")


def test_checkpoint_key_that_is_not_there_names_those_that_are(model: VisionModel, tmp_path: Path) -> None:
    wrong = model.model_copy(update={"checkpoint_key": "ema"})
    torch.save({"state_dict": plain_state(), "state_dict_ema": plain_state()}, tmp_path / "w.pt")
    words = "no weights under served_model.checkpoint_key=ema; it has some under state_dict, state_dict_ema"
    refused(wrong, tmp_path / "w.pt", words)
    torch.save(plain_state(), tmp_path / "w.pt")
    refused(wrong, tmp_path / "w.pt", "it has some under the file itself")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_checkpoint_with_nan_is_refused_with_its_tensor(model: VisionModel, tmp_path: Path, value: float) -> None:
    state = plain_state()
    state["classifier.3.bias"] = state["classifier.3.bias"].double()
    state["classifier.3.bias"][4] = value
    torch.save({"state_dict": state}, tmp_path / "w.pt")
    refused(model, tmp_path / "w.pt", "state_dict: classifier.3.bias has 1 of 11 numbers that are NaN or infinite")


def test_checkpoint_nan_in_another_state_dict_is_ignored(model: VisionModel, tmp_path: Path) -> None:
    content = {"state_dict": plain_state(), "metrics": {"loss": torch.tensor(float("nan"))}}
    assert torch.equal(read(model, tmp_path, content), read(model, tmp_path, plain_state()))


def test_torchscript_archive_is_refused_without_torchs_advice(model: VisionModel, tmp_path: Path) -> None:
    torchscript.FORMAT.export(read_vision(model, None), tmp_path / "w.pt")
    refused(model, tmp_path / "w.pt", r"so name no other: served_model\.network=null")


class Pickled:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("/nonexistent-marker").touch, ())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.nn.Linear(2, 2), "holds torch.nn.modules.linear.Linear, which could only be unpickled.*state_dict"),
        (Pickled(), "could only be unpickled"),
        ([1, 2], "holds a list, not a state dict"),
        ({"a": "text"}, "'a' is a str, not a tensor"),
        ({}, "not a state dict"),
    ],
    ids=["a whole module", "code", "a list", "text", "nothing"],
)
def test_what_is_no_state_dict_is_refused_unopened(
    model: VisionModel, tmp_path: Path, content: object, words: str
) -> None:
    torch.save(content, tmp_path / "w.pt")
    refused(model, tmp_path / "w.pt", words)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 cut", pickle.dumps({"a": 1})])
def test_what_is_no_checkpoint_is_refused(model: VisionModel, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pt").write_bytes(content)
    refused(model, tmp_path / "w.pt", "not a readable torch.save file|could only be unpickled|not a tensor")


def test_random_weights_are_repeatable_and_distinguish_inputs(model: VisionModel) -> None:
    first, second = read_vision(model, None).network, read_vision(model, None).network
    generator = torch.Generator().manual_seed(3)
    pixels = torch.randint(0, 256, (4, 224, 224, 3), dtype=torch.uint8, generator=generator)
    with torch.inference_mode():
        answers = first(pixels)
        assert torch.equal(answers, second(pixels))
    assert float(answers.std()) > 0.1


def test_network_that_asks_for_a_version_is_filled() -> None:
    from torchvision.models import mnasnet0_5

    trained, network = mnasnet0_5(num_classes=2), mnasnet0_5(num_classes=2)
    state = {name: value for name, value in trained.state_dict().items() if not name.endswith("num_batches_tracked")}
    fill(network, {"": state}, "origin")
    assert all(torch.equal(network.state_dict()[name], value) for name, value in state.items())


@pytest.mark.parametrize("name", ["digits", "genre_classifier"])
def test_random_weights_do_not_depend_on_the_number_of_threads(compose: Compose, name: str) -> None:
    configured = compose(name).served_model
    assert isinstance(configured, VisionModel)
    states = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        states.append(read_vision(configured, None).network.state_dict())
    torch.set_num_threads(1)
    for other in states[1:]:
        # The bytes and not the values: 0.0 equals -0.0.
        assert all(other[key].numpy().tobytes() == value.numpy().tobytes() for key, value in states[0].items())


def test_random_weights_keep_torchs_random_state(model: VisionModel) -> None:
    torch.manual_seed(9)
    expected = torch.rand(3)
    torch.manual_seed(9)
    read_vision(model, None)
    assert torch.equal(torch.rand(3), expected)
