"""A graph that resizes by itself answers whole pictures of any size as the framework does."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from errors import BuildError, ConfigError
from handlers import card as cards
from handlers import image_preprocess, runtimes
from serialize.build import build, export, load_model, read_back
from serialize.formats.onnx import prepend_resize
from settings.schema import PreprocessingSettings
from tests.handlers.archives import noise
from tests.serialize.conftest import Compose

WORDS = ("served_model.weights=random", "served_model.preprocess_in_graph=true", "served_model.network=resnet18")
SMALL = "served_model.preprocessing.resize=[32,32]"


def test_in_graph_build_accepts_images_of_any_size(compose: Compose, tmp_path: Path) -> None:
    composed = compose("digits", *WORDS, SMALL)
    built = build(composed)
    assert built.archive.card["artifact"]["preprocessing"] is True
    assert built.archive.golden["tolerance"] == 5e-3
    assert len(built.archive.golden["samples"]) == 5
    model = composed.built_model
    source = load_model(model, None)
    work = tmp_path / "work"
    work.mkdir()
    _, document = export(model, source, None, work)
    runtime = runtimes.load(work, read_back(document, work))
    sizes = [(40, 60), (90, 70), (40, 60), (32, 32)]
    pictures = np.empty(len(sizes), dtype=object)
    pictures[:] = [noise(*size, seed) for seed, size in enumerate(sizes)]
    together: Any = runtime(pictures)
    for place, picture in enumerate(pictures):
        alone: Any = runtime(picture[None])
        np.testing.assert_allclose(together["logits"][place], alone["logits"][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("resize", "crop"), [(48, (40, 40)), (48, (41, 33)), ((32, 64), None), ((64, 48), (32, 31))])
@pytest.mark.parametrize("size", [(100, 150), (151, 97), (240, 320)])
def test_its_picture_is_that_of_the_worker(
    tmp_path: Path, size: tuple[int, int], resize: Any, crop: Any, interpolation: Any
) -> None:
    settings = PreprocessingSettings(
        resize=resize, crop=crop, interpolation=interpolation, mean=(0, 0, 0), std=(1, 1, 1)
    )
    path = tmp_path / "copy.onnx"
    identity(path)
    prepend_resize(path, settings)
    picture = noise(*size)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixels": picture[None]})
    expected = image_preprocess.apply(picture, cards.Preprocessing(resize, interpolation, crop))
    apart = np.abs(found[0].astype(int) - expected)
    # Where rows shrink more than columns, Pillow takes them first; bicubic clips in between, so the order shows.
    assert (apart > 1).mean() <= (0.001 if interpolation == "bilinear" else 0.02)


def identity(path: Path) -> None:

    values = [
        helper.make_tensor_value_info(name, TensorProto.UINT8, ["batch", "h", "w", 3]) for name in ("pixels", "o")
    ]
    graph = helper.make_graph([helper.make_node("Identity", ["pixels"], ["o"])], "copy", values[:1], values[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (("served_model.artifact=eager",), ConfigError, "preprocess_in_graph is for artifact onnx"),
        (("served_model.decode=auto",), ConfigError, "needs decode exact"),
        (("served_model.preprocessing.crop=[80,64]",), BuildError, "pads nothing"),
        (("served_model.preprocessing.interpolation=nearest",), BuildError, "not the same picture"),
    ],
)
def test_what_it_cannot_do_is_refused(
    compose: Compose, words: tuple[str, ...], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build(compose("digits", *WORDS, *words))
