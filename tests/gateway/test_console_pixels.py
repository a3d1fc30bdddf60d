"""The console draws what a model has found over the picture, and shows numbers with their units and vectors."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from handlers.outputs import class_map
from tests.gateway.browser import IN_BROWSER
from tests.gateway.console_page import ANSWERED, TEXTS, console, text
from tests.gateway.engine import VISION, Engine
from tests.gateway.served import gateway_for

pytestmark = IN_BROWSER

HOSTILE = '<img src=x onerror="window.broken=1">'
LABELS = ["sky", HOSTILE]
MAP = np.repeat([[0] * 6 + [1] * 2], 4, axis=0).astype(np.uint8)
CARDS: dict[str, dict[str, Any]] = {
    "detect": {
        "detections": [
            {"label": HOSTILE, "score": 0.9, "box": [1.0, 0.0, 5.0, 3.0]},
            {"label": HOSTILE, "score": 0.5, "box": [2.0, 2.0, 8.0, 4.0]},
        ],
        "width": 8,
        "height": 4,
    },
    "segment": {
        "areas": {"sky": 24, HOSTILE: 8},
        "width": 8,
        "height": 4,
        "class_map": base64.b64encode(class_map.png(MAP)).decode(),
    },
    "regress": {"values": {"age": 31.25, "ratio": 0.5}, "units": {"age": "years", "ratio": None}},
    "embed": {"embedding": [0.6, -0.8]},
}


def upright_picture(folder: Path) -> Path:
    """A picture of 8 x 4 that its EXIF orientation turns upright."""
    turned = Image.Exif()
    turned[0x0112] = 6
    stored = io.BytesIO()
    Image.fromarray(np.full((8, 4, 3), 90, np.uint8)).save(stored, "JPEG", exif=turned)
    (folder / "turned.jpg").write_bytes(stored.getvalue())
    return folder / "turned.jpg"


@contextmanager
def served(engine: Engine, task: str) -> Iterator[str]:
    card = {**VISION, "task": task, "labels": LABELS, "echo": CARDS[task]}
    engine.add(task, card)
    try:
        with gateway_for(engine) as gateway:
            yield gateway
    finally:
        engine.manage("DELETE", f"/models/{task}/1.0")


async def test_boxes_lie_over_the_upright_picture(engine: Engine, devtools: int, tmp_path: Path) -> None:
    with served(engine, "detect") as gateway:
        async with console(devtools, gateway, "detect") as page:
            await page.drop_file(".drop", upright_picture(tmp_path))
            await page.wait(ANSWERED)
            assert await page.evaluate(TEXTS) == [f"1 {HOSTILE} 90 %", f"2 {HOSTILE} 50 %"]
            assert await text(page, "verdict") == f"2 found: 1 {HOSTILE}, 2 {HOSTILE}"
            assert await page.evaluate("document.querySelector('#picture svg').getAttribute('viewBox')") == "0 0 8 4"
            box = "document.querySelector('#picture rect')"
            sides = f"['x', 'y', 'width', 'height'].map(name => Number({box}.getAttribute(name)))"
            assert await page.evaluate(sides) == [1, 0, 4, 3]
            await page.wait("document.querySelector('#picture img').naturalWidth === 8")
            shown = "document.querySelector('#picture {}').getBoundingClientRect().{}"
            for side in ("left", "top", "width", "height"):
                assert await page.evaluate(f"{shown.format('img', side)} - {shown.format('svg', side)}") == 0
            assert page.errors == []


async def test_regions_are_coloured_by_class(engine: Engine, devtools: int, tmp_path: Path) -> None:
    with served(engine, "segment") as gateway:
        async with console(devtools, gateway, "segment") as page:
            await page.drop_file(".drop", upright_picture(tmp_path))
            await page.wait(ANSWERED)
            assert await page.evaluate(TEXTS) == ["sky 75 %", f"{HOSTILE} 25 %"]
            pixel = "[...document.querySelector('#picture canvas').getContext('2d').getImageData({}, 2, 1, 1).data]"
            await page.wait(f"{pixel.format(0)}[3] === 255")
            left, right = [await page.evaluate(pixel.format(x)) for x in (5, 6)]
            bars = "[...document.querySelectorAll('#bars i')].map(bar => getComputedStyle(bar).backgroundColor)"
            colours = [f"rgb({', '.join(map(str, each[:3]))})" for each in (left, right)]
            assert await page.evaluate(bars) == colours
            assert colours[0] != colours[1]
            assert page.errors == []


async def test_numbers_have_units_and_vectors_bars(engine: Engine, devtools: int, picture: Path) -> None:
    for task, bars, verdict in (
        ("regress", ["age 31.25 years", "ratio 0.5"], "age 31.25 years, ratio 0.5"),
        ("embed", ["[0] 0.6", "[1] -0.8"], "2 numbers, norm 1"),
    ):
        with served(engine, task) as gateway:
            async with console(devtools, gateway, task) as page:
                await page.drop_file(".drop", picture)
                await page.wait(ANSWERED)
                assert await page.evaluate(TEXTS) == bars
                assert await text(page, "verdict") == verdict
                assert await page.evaluate("document.getElementById('picture').hidden")
                assert page.errors == []
