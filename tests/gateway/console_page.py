"""The console as tests see it in a browser."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

from tests.gateway.browser import Page, open_page

TEXTS = "[...document.querySelectorAll('#bars li')].map(row => row.innerText.replaceAll('\\n', ' '))"
ANSWERED = "document.querySelectorAll('#bars li').length > 0 && !document.getElementById('answer').hidden"
CHOSEN = "document.querySelector('#models a[aria-current]')?.textContent"


@asynccontextmanager
async def console(devtools: int, gateway: str, model: str = "digits") -> AsyncIterator[Page]:
    """The console with this model chosen; at the end nothing has gone wrong, and nobody else was asked for anything."""
    async with open_page(devtools, f"{gateway}/#model={quote(model, safe='')}") as page:
        await page.wait(f"{CHOSEN} === {json.dumps(model)}")
        await page.wait("!document.getElementById('predict-form').hidden")
        yield page
        outside = {urlsplit(url).netloc for url in page.requested if not url.startswith(("data:", "blob:"))}
        assert outside == {urlsplit(gateway).netloc}
        assert await page.evaluate("window.broken") is None


async def text(page: Page, element: str) -> str:
    return str(await page.evaluate(f"document.getElementById('{element}').innerText"))
