"""A real headless Chromium, spoken to over its DevTools protocol; it can reach nothing but loopback."""

import asyncio
import json
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.polling import wait_for

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((found for name in NAMES if (found := shutil.which(name))), None)
IN_BROWSER = [
    pytest.mark.browser,
    pytest.mark.anyio,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
WAIT_S = 60
# The numbers that Windows gives to keys, which is how the protocol knows them.
VIRTUAL_KEYS = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowRight": 39}


class Page:
    """One tab: evaluates JavaScript and keeps the addresses that the page asked for and the errors it logged."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._number = 0
        self.requested: list[str] = []
        self.errors: list[str] = []

    async def send(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the DevTools protocol and its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": params})
        while True:
            message = json.loads((await self._socket.receive()).data)
            self._keep(message)
            if message.get("id") == self._number:
                assert "error" not in message, message
                result: dict[str, Any] = message["result"]
                return result

    async def evaluate(self, script: str) -> Any:
        """The value of an expression, as JSON."""
        result = await self.send("Runtime.evaluate", expression=script, returnByValue=True)
        return result["result"].get("value")

    async def wait(self, script: str) -> Any:
        """The value of an expression once it is true; fails the test when it does not become so in time."""
        deadline = time.monotonic() + WAIT_S
        while not (found := await self.evaluate(script)):
            assert time.monotonic() < deadline, f"{script} did not hold; errors: {self.errors}"
            await asyncio.sleep(0.1)
        return found

    async def choose_file(self, selector: str, file: Path) -> None:
        """What a person does in the dialogue of a file field."""
        found = await self.send("Runtime.evaluate", expression=f"document.querySelector({json.dumps(selector)})")
        await self.send("DOM.setFileInputFiles", files=[str(file)], objectId=found["result"]["objectId"])

    async def drop_file(self, selector: str, file: Path) -> None:
        """What a person does who drags a file onto an element."""
        box = await self.evaluate(
            f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])"
            f"(document.querySelector({json.dumps(selector)}).getBoundingClientRect())"
        )
        data = {"items": [], "files": [str(file)], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.send("Input.dispatchDragEvent", type=kind, x=box[0], y=box[1], data=data)

    async def press(self, key: str, times: int = 1) -> None:
        """A key that prints nothing, by its name in DOM's KeyboardEvent."""
        for _ in range(times):
            for kind in ("rawKeyDown", "keyUp"):
                await self.send(
                    "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=VIRTUAL_KEYS[key]
                )

    def _keep(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        if message.get("method") == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif message.get("method") == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif message.get("method") == "Runtime.exceptionThrown":
            self.errors.append(str(params["exceptionDetails"].get("text")))


@contextmanager
def browser(folder: Path) -> Iterator[int]:
    """A browser with its profile in this folder, until the end of the block; the port of its DevTools."""
    assert CHROMIUM is not None
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += ["--no-first-run", "--disable-extensions", "--disable-background-networking", "--window-size=1400,1200"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={folder}", "about:blank"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    told = folder / "DevToolsActivePort"
    try:
        wait_for(lambda: told.exists() and bool(told.read_text().strip()), WAIT_S)
        yield int(told.read_text().splitlines()[0])
    finally:
        process.terminate()
        process.wait(30)


@asynccontextmanager
async def open_page(port: int, url: str) -> AsyncIterator[Page]:
    """The browser's tab, showing `url`."""
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            targets = await answer.json()
        address = next(each["webSocketDebuggerUrl"] for each in targets if each["type"] == "page")
        async with session.ws_connect(address, max_msg_size=0) as socket:
            page = Page(socket)
            for domain in ("Network", "Log", "Runtime", "DOM"):
                await page.send(f"{domain}.enable")
            # Another fragment alone would leave what the tab shows, whose errors are told once more as well.
            await page.send("Page.navigate", url="about:blank")
            page.errors.clear()
            await page.send("Page.navigate", url=url)
            yield page
