"""Half precision is packed where the device computes in it, and refused with the reason where it does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from errors import BuildError, ConfigError
from handlers import runtimes
from handlers.runtimes import pytorch
from serialize import parity
from serialize.build import build, export, load_model, read_back
from serialize.sample_requests import noisy_images
from tests.serialize.conftest import Compose

WORDS = ("served_model.weights=random", "served_model.artifact=eager", "served_model.network=resnet18",
         "served_model.preprocessing.resize=[32,32]")  # fmt: skip
CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_a_device_without_the_arithmetic_is_named(
    compose: Compose, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(BuildError, match=f"precision {precision}: no GPU, and this CPU has no {precision}"):
        build(compose("digits", *WORDS, f"served_model.precision={precision}"))


@pytest.mark.skipif(not pytorch.computes("bfloat16", CPU), reason="this CPU has no bfloat16 arithmetic")
@pytest.mark.filterwarnings("ignore:`torch.jit.load` is deprecated:DeprecationWarning")
@pytest.mark.parametrize("form", ["eager", "torchscript"])
def test_bfloat16_is_close_and_answers_in_float32(compose: Compose, tmp_path: Path, form: str) -> None:
    model = compose("digits", *WORDS, f"served_model.artifact={form}", "served_model.precision=bfloat16").built_model
    source = load_model(model, None)
    _, document = export(model, source, None, tmp_path)
    card = read_back(document, tmp_path)
    assert parity.tolerance_of(card) == 0.05
    pixels = noisy_images(3, (32, 32), 3, seed=0)
    found: Any = runtimes.load(tmp_path, card)(pixels)
    with torch.inference_mode():
        expected = source.network(torch.from_numpy(pixels)).numpy()
    assert found["logits"].dtype == np.float32
    assert 1e-4 < np.abs(found["logits"] - expected).max() / np.ptp(expected) < 0.05


@pytest.mark.parametrize(("setting", "ordered"), [("auto", True), ("false", False)])
def test_the_memory_order_is_in_the_card(compose: Compose, setting: str, ordered: bool) -> None:
    built = build(compose("digits", *WORDS, f"served_model.channels_last={setting}"))
    assert built.archive.card["artifact"]["channels_last"] is ordered


def test_an_onnx_graph_has_one_precision(compose: Compose) -> None:
    with pytest.raises(ConfigError, match="precision float16 is for eager, torchscript and aoti"):
        compose("digits", "served_model.precision=float16")
