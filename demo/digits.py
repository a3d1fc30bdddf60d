"""The handwritten digits that ship inside scikit-learn, as pictures, split into seen and unseen ones."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SIDE = 128  # pixels; large enough for a person to look at
BRIGHTEST = 16  # the data set's own scale
TEST_SHARE = 0.2
SEED = 0


@dataclass(frozen=True, eq=False)
class Digits:
    """images: float64 [N, 8, 8], 0..16; labels: [N], 0..9."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]


def load_split() -> tuple[Digits, Digits]:
    """1437 digits for training and 360 that no training sees, always the same ones, all classes in both."""
    data = load_digits()
    images, unseen, labels, unseen_labels = train_test_split(
        data.images, data.target, test_size=TEST_SHARE, random_state=SEED, stratify=data.target
    )
    return Digits(images, labels), Digits(unseen, unseen_labels)


def picture(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """One digit [8, 8] as an RGB picture, uint8 [128, 128, 3], white on black."""
    grey = Image.fromarray((image * (255 / BRIGHTEST)).round().astype(np.uint8))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB"))


def png(image: NDArray[np.float64]) -> bytes:
    """One digit [8, 8] as the bytes of a PNG."""
    body = io.BytesIO()
    Image.fromarray(picture(image)).save(body, "PNG")
    return body.getvalue()
