"""Generated pictures, and the choice among them."""

import io
import random

import pytest
from PIL import Image

from bench import samples
from bench.assets import varied


def test_natural_same_seed_gives_the_same_picture() -> None:
    first, again, other = (samples.natural(60, 90, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_natural_has_size_and_bytes_of_a_photograph() -> None:
    made = samples.natural(*samples.SIZE, random.Random(0))
    with Image.open(io.BytesIO(made)) as picture:
        assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", samples.SIZE[::-1])
    assert 150_000 < len(made) < 450_000


@pytest.mark.parametrize("wanted", [50_000, 300_000])
def test_of_bytes_is_near_the_wanted_number(wanted: int) -> None:
    assert len(samples.of_bytes(wanted, random.Random(0))) == pytest.approx(wanted, rel=0.25)


def test_varied_every_label_comes_before_any_comes_again() -> None:
    labels = ["rain", "rain", "snow", "rain", "hail", "snow"]
    assert [labels[at] for at in varied(labels, 3)] == ["rain", "snow", "hail"]
    assert [labels[at] for at in varied(labels, 5)] == ["rain", "rain", "snow", "hail", "snow"]
