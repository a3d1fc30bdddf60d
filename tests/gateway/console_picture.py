"""`python -m tests.gateway.console_picture URL FOLDER`: the pictures of docs/console.md, from a running stack.

The stack must serve digits and cartpole (`make demo`). It is put under a light load for half a minute, and Chromium
takes console.png in the light with a digit, and console-dark.png in the dark with a pole.
"""

import asyncio
import base64
import io
import random
import sys
import tempfile
from pathlib import Path

import aiohttp
from PIL import Image

from demo import digits
from tests.gateway.browser import Page, browser, open_page

WARM_S = 30
PAUSES_S = {"digits": 0.035, "cartpole": 0.012}
SIZE = {"width": 1360, "height": 850, "deviceScaleFactor": 1, "mobile": False}
ANSWERED = "document.querySelectorAll('#bars li').length > 1 && !document.getElementById('answer').hidden"


async def load(url: str, pictures: list[bytes]) -> None:
    """Asks both models at random moments, until it is cancelled."""
    async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as group:
        for model, pause in PAUSES_S.items():
            group.create_task(_ask(session, f"{url}/models/{model}/predict", pause, pictures))


async def _ask(session: aiohttp.ClientSession, url: str, pause: float, pictures: list[bytes]) -> None:
    while True:
        if "digits" in url:
            sent = session.post(url, data=random.choice(pictures), headers={"Content-Type": "image/png"})
        else:
            sent = session.post(url, json=[random.uniform(-0.2, 0.2) for _ in range(4)])
        async with sent as answer:
            await answer.read()
        await asyncio.sleep(random.expovariate(1 / pause))


async def take(page: Page, file: Path, scheme: str) -> None:
    """One picture, in as few colours as the page has."""
    await page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    await page.evaluate("document.activeElement.blur()")
    await page.send("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
    await asyncio.sleep(3)  # two more figures, and whatever moves has come to rest
    taken = base64.b64decode((await page.send("Page.captureScreenshot", format="png"))["data"])
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, optimize=True)


async def main(url: str, folder: Path) -> None:
    """Both pictures."""
    _, unseen = digits.load_split()
    pictures = [digits.png(image) for image in unseen.images]
    with tempfile.TemporaryDirectory() as work, browser(Path(work) / "profile") as devtools:
        digit = Path(work) / "seven.png"
        digit.write_bytes(pictures[list(unseen.labels).index(7)])
        working = asyncio.create_task(load(url, pictures))
        async with open_page(devtools, f"{url}/#model=digits") as page:
            await page.send("Emulation.setDeviceMetricsOverride", **SIZE)
            await page.wait("document.querySelector('.drop') !== null")
            await page.drop_file(".drop", digit)
            await asyncio.sleep(WARM_S)
            await page.wait(ANSWERED)
            await take(page, folder / "console.png", "light")
            await page.evaluate("location.hash = '#model=cartpole'")
            await page.wait("document.getElementById('number-2') !== null")
            await page.evaluate("document.getElementById('number-2').focus()")
            await page.press("ArrowRight", times=25)
            await page.wait(ANSWERED)
            await take(page, folder / "console-dark.png", "dark")
        working.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].rstrip("/"), Path(sys.argv[2])))
