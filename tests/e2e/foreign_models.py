"""Sources of the archives in the table of docs/torchserve-archives.md: handlers, and networks with random weights."""

CLASSIFIER = """
from torch import nn


class Tiny(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
"""

SEGMENTER = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, 4, 3, padding=1)

    def forward(self, pixels):
        return {"out": self.layer(pixels)}
"""

DETECTOR = """
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.ssd import SSD


class Tiny(SSD):
    def __init__(self):
        backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 8, 8))
        backbone.out_channels = [8]
        super().__init__(backbone, DefaultBoxGenerator([[2]], scales=[0.2, 0.4]), (64, 64), 3, detections_per_img=5)
        # The second class is certain everywhere, so that random weights find boxes too.
        bias = self.head.classification_head.module_list[0].bias
        with torch.no_grad():
            bias.view(-1, 3)[:] = torch.tensor([0.0, 4.0, 0.0])
"""

TEXT = """
from torch import nn


class Tiny(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.EmbeddingBag(50, 16)
        self.layer = nn.Linear(16, 4)

    def forward(self, tokens, offsets):
        return self.layer(self.embedding(tokens, offsets))
"""

DOUBLER = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Doubler(BaseHandler):
    def preprocess(self, data):
        return torch.tensor([row["body"]["numbers"] for row in data], device=self.device)

    def postprocess(self, outputs):
        return [{"doubled": row} for row in outputs.tolist()]
"""

NEEDING = """
import emoji
import xxhash


def handle(data, context):
    if data is None:
        return None
    texts = [row["body"] if isinstance(row["body"], str) else bytes(row["body"]).decode() for row in data]
    return [{"text": emoji.emojize(text), "hash": xxhash.xxh64(text).hexdigest()} for text in texts]
"""
NEEDED = "emoji~=2.14  # pure Python\nxxhash==3.5.0\n"

BYTES = """
import io
from pathlib import Path

from PIL import Image


def handle(data, context):
    if data is None:
        return None
    return [answer(row, index, context) for index, row in enumerate(data)]


def answer(row, index, context):
    colour = (Path(context.system_properties["model_dir"]) / "palette" / "colour.txt").read_text().strip()
    with Image.open(io.BytesIO(row["body"])) as picture:
        file = io.BytesIO()
        Image.new("RGB", picture.size, colour).save(file, "PNG")
    context.set_response_content_type(index, "image/png")
    context.set_response_header(index, "X-Colour", colour)
    return file.getvalue()
"""

LIST = """
def handle(data, context):
    return None if data is None else [sorted(row["body"]) for row in data]
"""

SLOW = """
import time


def handle(data, context):
    if data is not None:
        time.sleep(0.7)
    return None if data is None else [row["body"]["number"] + 0.5 for row in data]
"""

CONFIGURED = """
import torch
from ts.torch_handler.base_handler import BaseHandler


class Configured(BaseHandler):
    def preprocess(self, data):
        factor = self.context.model_yaml_config["handler"]["factor"]
        return torch.tensor([row["body"]["numbers"] for row in data]) * factor

    def postprocess(self, outputs):
        compiled = type(self.model).__name__ == "OptimizedModule"
        return [{"scaled": row, "threads": torch.get_num_threads(), "compiled": compiled} for row in outputs.tolist()]
"""
DOUBLING = """
from torch import nn


class Tiny(nn.Module):
    def forward(self, numbers):
        return numbers * 2
"""
CONFIG = """
minWorkers: 1
maxWorkers: 2
batchSize: 4
maxBatchDelay: 5
responseTimeout: 60
deviceType: cpu
torchrun: {OMP_NUMBER_THREADS: 2}
pt2: {compile: {enable: true, backend: eager}}
handler: {factor: 10}
"""
