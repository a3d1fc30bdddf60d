"""A folder of the digits as JPEG files: what the build of `onnx-int8` and of a reduced decode asks the network."""

import shutil
from pathlib import Path

from PIL import Image

from demo.digits import load_split, picture
from files import staging_folder

COUNT = 200
QUALITY = 95


def write_pictures(folder: Path) -> int:
    """Writes 200 digits that the training has seen into `folder`, which appears when it is whole; returns how many."""
    digits, _ = load_split()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with staging_folder(folder.parent, folder.name) as work:
        made = work / folder.name
        made.mkdir()
        for number, (image, label) in enumerate(zip(digits.images[:COUNT], digits.labels[:COUNT], strict=True)):
            name = f"{number:03d}-{label}.jpg"
            Image.fromarray(picture(image)).save(made / name, "JPEG", quality=QUALITY)
        shutil.rmtree(folder, ignore_errors=True)
        made.rename(folder)
    return COUNT
