"""The file browser's page in a real browser: it shows the archives without an error."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.stores.folder import put_into_folder
from delivery.stores.nginx import write_sidecar
from tests.archive.made import archive_at
from tests.docker.filebrowser_server import FileBrowser, file_browser
from tests.gateway.browser import IN_BROWSER, browser, open_page

pytestmark = IN_BROWSER
ROWS = "[...document.querySelectorAll('#archives > li')]"
SHOWN = f"{ROWS}.filter(each => !each.hidden)"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[FileBrowser]:
    with file_browser() as started:
        source = archive_at(tmp_path / "toy.mar")
        for name in ("toy.mar", "toy-1.0.mar", "weather-2.10.mar"):
            put_into_folder(source, started.root, name)
            write_sidecar(started.root, name)
        put_into_folder(source, started.root, "digits-1.0.mar")
        (started.root / "digits-1.0.json").write_text('{"sha256": "half a si')
        (started.root / "<img src=x onerror=alert(1)>-1.0.mar").write_bytes(b"not served")
        yield started


@pytest.fixture
def devtools(tmp_path: Path) -> Iterator[int]:
    with browser(tmp_path / "profile") as port:
        yield port


async def test_a_person_sees_each_archive_with_its_checksum_and_card_and_can_filter(
    running: FileBrowser, devtools: int
) -> None:
    async with open_page(devtools, f"http://127.0.0.1:{running.port}/files/") as page:
        await page.wait(f"{ROWS}.length === 4 && document.querySelectorAll('details:not([hidden])').length === 2")
        assert await page.evaluate(f"{ROWS}.map(each => each.querySelector('h2').innerText)") == [
            "digits1.0",
            "toy1.0",
            "toy",
            "weather2.10",
        ]
        sums = await page.evaluate("[...document.querySelectorAll('.sum:not([hidden]) code')].map(e => e.innerText)")
        assert [len(each) for each in sums] == [64, 64]
        await page.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        assert '"model_name": "toy"' in await page.evaluate(
            "document.querySelector('details:not([hidden]) pre').innerText"
        )
        commands = await page.evaluate(f"{ROWS}.map(each => each.querySelector('.command code').innerText)")
        assert commands[1] == f"curl -fO http://127.0.0.1:{running.port}/files/toy-1.0.mar"
        for width in (320, 1400):
            await page.send(
                "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False
            )
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        field = "document.getElementById('filter')"
        await page.evaluate(f"{field}.value = 'toy 1.0'; {field}.dispatchEvent(new Event('input'))")
        assert await page.evaluate(f"{SHOWN}.length") == 1
        await page.evaluate(f"{field}.value = 'nothing'; {field}.dispatchEvent(new Event('input'))")
        assert await page.evaluate("document.getElementById('note').innerText") == "No archive of that name."
        assert page.errors == []
        assert all(f":{running.port}/" in each or each.startswith("data:") for each in page.requested)
