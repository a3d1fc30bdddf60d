"""The documentation page in a real browser that has no internet."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from gateway.examples import PICTURE
from tests.gateway.browser import CHROMIUM, open_page

NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")
BLOCK = (
    "[...document.querySelectorAll('.opblock')]"
    ".find(each => each.querySelector('.opblock-summary-path')?.dataset.path === '/predict_proba')"
)
STATUS = f"{BLOCK}.querySelector('.live-responses-table tbody .response-col_status')?.innerText"
KINDS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript"}


@pytest.fixture
def paths(gateway: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{gateway}/openapi.json", timeout=30).json()["paths"]
    return found


def test_docs_files_come_from_the_gateway(gateway: str) -> None:
    page = requests.get(f"{gateway}/docs", timeout=30)
    assert "script-src 'self';" in page.headers["content-security-policy"]
    assert "//" not in page.text
    for name, kind in KINDS.items():
        found = requests.get(f"{gateway}/docs/{name}", timeout=30)
        assert (found.status_code, found.headers["content-type"].split(";")[0]) == (200, kind)
        assert found.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["../../app.py", "%2e%2e%2fcore.py", "favicon.png", "redoc.standalone.js"])
def test_docs_other_files_are_not_found(gateway: str, name: str) -> None:
    assert requests.get(f"{gateway}/docs/{name}", timeout=30).status_code == 404


@pytest.mark.browser
@NEEDS_CHROMIUM
@pytest.mark.anyio
async def test_docs_work_in_a_browser_without_internet(
    gateway: str, paths: dict[str, Any], devtools: int, tmp_path: Path
) -> None:
    picture = tmp_path / "digit.png"
    picture.write_bytes(PICTURE)
    operations = sum(len(each) for each in paths.values())
    async with open_page(devtools, f"{gateway}/docs") as page:
        await page.wait(f"document.querySelectorAll('.opblock').length === {operations}")
        listed = await page.evaluate("[...document.querySelectorAll('.opblock-summary-path')].map(e => e.dataset.path)")
        assert set(listed) == set(paths)
        await page.evaluate(f"{BLOCK}.querySelector('.opblock-summary-control').click()")
        await page.wait(f"{BLOCK}.querySelector('.try-out__btn') !== null")
        await page.evaluate(f"{BLOCK}.querySelector('.try-out__btn').click()")
        await page.wait("document.querySelector('.opblock.is-open input[type=file]') !== null")
        await page.choose_file(".opblock.is-open input[type=file]", picture)
        await page.evaluate(f"{BLOCK}.querySelector('.execute').click()")
        status = await page.wait(STATUS)
        body = await page.evaluate(f"{BLOCK}.querySelector('.live-responses-table').innerText")
    assert status.startswith("200"), body
    assert '"7": 0.75' in body
    assert {urlsplit(url).netloc for url in page.requested if not url.startswith("data:")} == {urlsplit(gateway).netloc}
    assert page.errors == []
