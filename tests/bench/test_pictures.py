"""Made pictures and what is chosen of them."""

import io
import random

import pytest
from PIL import Image

from bench import pictures
from bench.assets import varied


def test_the_same_seed_makes_the_same_picture_and_another_seed_another() -> None:
    first, again, other = (pictures.natural(60, 90, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_a_picture_has_its_size_and_about_the_bytes_of_a_photograph() -> None:
    made = pictures.natural(*pictures.SIZE, random.Random(0))
    with Image.open(io.BytesIO(made)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", pictures.SIZE[::-1])
    assert 150_000 < len(made) < 450_000


@pytest.mark.parametrize("wanted", [50_000, 300_000])
def test_a_picture_of_so_many_bytes_comes_near_them(wanted: int) -> None:
    assert len(pictures.of_bytes(wanted, random.Random(0))) == pytest.approx(wanted, rel=0.25)


def test_pictures_of_every_label_are_chosen_before_any_label_comes_again() -> None:
    labels = ["rain", "rain", "snow", "rain", "hail", "snow"]
    assert [labels[at] for at in varied(labels, 3)] == ["rain", "snow", "hail"]
    assert [labels[at] for at in varied(labels, 5)] == ["rain", "rain", "snow", "hail", "snow"]
