"""The handler of docs/add-a-model.md takes and returns what the page says, of 8 bits and as floats."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from archive import open_archive
from serialize.build import build
from settings.load import ROOT
from tests.serialize.conftest import Compose, answered, worker_of

NETWORK = """
import torch
from torch import nn


class Mean(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        return images.mean((1, 2, 3))[:, None] * self.scale
"""
VALUE, FRAME = 1000, 8


@pytest.mark.parametrize(("dtype", "seen"), [("uint8", 4 / 255), ("float32", VALUE / 65535)])
def test_handler_of_the_guide_cuts_the_frame_off(compose: Compose, tmp_path: Path, dtype: str, seen: float) -> None:
    page = (ROOT / "docs" / "add-a-model.md").read_text()
    found = re.search(r"```python\n(from handlers\.vision_handler import .*?)```", page, re.DOTALL)
    assert found is not None
    (tmp_path / "thermal.py").write_text(found[1])
    (tmp_path / "mean.py").write_text(NETWORK)
    output = "served_model.output"
    words = ["served_model.weights=random", "served_model.artifact=eager", "served_model.task=regress",
             f"served_model.handler={tmp_path}/thermal.py", f"served_model.network={tmp_path}/mean.py:Mean",
             "served_model.labels=null", f"~{output}.activation", f"{output}.names=[value]", f"{output}.units=[null]",
             "served_model.preprocessing.resize=[16,16]", f"served_model.preprocessing.dtype={dtype}"]  # fmt: skip
    handler = worker_of(open_archive(build(compose("digits", *words)).archive.path), tmp_path / "unpacked")
    picture = np.full((60, 80), 65535, dtype=np.uint16)
    picture[FRAME:-FRAME, FRAME:-FRAME] = VALUE
    body = io.BytesIO()
    Image.fromarray(picture).save(body, "PNG")
    value = answered(handler, "image/png", body.getvalue())["values"]["value"]
    assert value == pytest.approx((seen - 0.5) / 0.5, abs=1e-5)
