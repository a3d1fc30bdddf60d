"""The demo's pictures are those of scikit-learn, split the same way each time."""

import io
import subprocess
import sys

import numpy as np
from PIL import Image

import settings
from demo.digits import load_split, png, rgb
from demo.train_digits import prepare
from serialize.reference import torchvision_pixels
from settings.schema import VisionModel


def test_no_digit_is_both_seen_and_unseen() -> None:
    seen, unseen = load_split()
    assert (len(seen.labels), len(unseen.labels)) == (1437, 360)
    known = {image.tobytes() for image in seen.images}
    assert not any(image.tobytes() in known for image in unseen.images)
    assert set(unseen.labels.tolist()) == set(range(10))


def test_the_split_is_the_same_each_time() -> None:
    assert np.array_equal(load_split()[1].images, load_split()[1].images)
    assert load_split()[1].labels[:5].tolist() == load_split()[1].labels[:5].tolist()


def test_a_picture_is_a_png_of_the_digit() -> None:
    _, unseen = load_split()
    with Image.open(io.BytesIO(png(unseen.images[0]))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "RGB", (128, 128))
        assert np.array_equal(np.asarray(image), rgb(unseen.images[0]))
        assert np.asarray(image).max() > 200


def test_training_sees_what_torchvision_makes_of_the_png() -> None:
    model = settings.load(["served_model=digits"]).served_model
    assert isinstance(model, VisionModel)
    _, unseen = load_split()
    prepared = prepare(unseen, model)
    assert prepared.pixels.shape == (360, 64, 64, 3)
    for number in range(0, 360, 40):
        expected = torchvision_pixels(png(unseen.images[number]), model.preprocessing)
        assert np.array_equal(prepared.pixels[number].numpy(), expected.numpy())


def test_asking_the_demo_models_imports_no_torch() -> None:
    code = (
        "import sys, demo.predict, demo.digits\n"
        "print([name for name in ('torch', 'stable_baselines3') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
