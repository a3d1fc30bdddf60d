"""The handwritten digits of scikit-learn as images, split into seen and unseen ones, and as files for calibration."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from files import staging_folder

SIDE = 128  # pixels; large enough for people
BRIGHTEST = 16  # the data set's own scale
TEST_SHARE = 0.2
SEED = 0
CALIBRATION_COUNT = 200
JPEG_QUALITY = 95


@dataclass(frozen=True, eq=False)
class Digits:
    """images: float64 [N, 8, 8], 0..16; labels: [N], 0..9."""

    images: NDArray[np.float64]
    labels: NDArray[np.int64]


def load_split() -> tuple[Digits, Digits]:
    """Return 1437 digits for training and 360 unseen ones, the same each time, with all classes in both."""
    data = load_digits()
    images, unseen, labels, unseen_labels = train_test_split(
        data.images, data.target, test_size=TEST_SHARE, random_state=SEED, stratify=data.target
    )
    return Digits(images, labels), Digits(unseen, unseen_labels)


def rgb(image: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a digit [8, 8] as an RGB image, uint8 [128, 128, 3], white on black."""
    grey = Image.fromarray((image * (255 / BRIGHTEST)).round().astype(np.uint8))
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB"))


def png(image: NDArray[np.float64]) -> bytes:
    """Return a digit [8, 8] as the bytes of a PNG."""
    body = io.BytesIO()
    Image.fromarray(rgb(image)).save(body, "PNG")
    return body.getvalue()


def write_images(folder: Path) -> int:
    """Write 200 digits of the training set as JPEGs into `folder`, atomically, and return their number.

    The build of `onnx-int8` and of a reduced decode runs the network on them.
    """
    digits, _ = load_split()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(folder.parent, folder.name) as work:
        made = work / folder.name
        made.mkdir()
        chosen = zip(digits.images[:CALIBRATION_COUNT], digits.labels[:CALIBRATION_COUNT], strict=True)
        for number, (image, label) in enumerate(chosen):
            Image.fromarray(rgb(image)).save(made / f"{number:03d}-{label}.jpg", "JPEG", quality=JPEG_QUALITY)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return CALIBRATION_COUNT
