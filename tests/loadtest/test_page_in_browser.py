"""The report in a real browser: drawn, readable by keyboard, in light and dark and on paper, and asking for nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.compare import compare_files, write_page
from loadtest.pages.report_pages import run_page
from loadtest.report_files import report_document
from tests.gateway.browser import CHROMIUM, Page, browser, open_page
from tests.loadtest.reports import report

pytestmark = pytest.mark.anyio

CONTRAST = """(() => {
  const light = c => { const [r, g, b] = c.match(/[\\d.]+/g).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b };
  const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const back = light(getComputedStyle(document.querySelector('section')).backgroundColor);
  return Math.min(...[...document.querySelectorAll('section h2, section p, section td, section th')]
    .map(each => ratio(light(getComputedStyle(each).color), back)));
})()"""


async def _look(page: Page) -> dict[str, Any]:
    script = """({
      charts: document.querySelectorAll('svg').length,
      empty: [...document.querySelectorAll('svg')].filter(each => each.getBoundingClientRect().height < 20).length,
      reachable: [...document.querySelectorAll('svg')].every(each => each.tabIndex === 0 && each.ariaLabel !== ''),
      wide: document.documentElement.scrollWidth > document.documentElement.clientWidth,
      dark: getComputedStyle(document.body).backgroundColor,
    })"""
    found: dict[str, Any] = await page.evaluate(script)
    return found


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")
async def test_pages_are_readable_in_each_scheme_and_load_nothing(tmp_path: Path) -> None:
    runs = [report_document(report([100.0, 104.0, 98.0, 101.0], seed=seed, errors=seed)) for seed in (0, 1)]
    paths = [tmp_path / f"{name}.json" for name in "ab"]
    for path, run in zip(paths, runs, strict=True):
        path.write_text(json.dumps(run))
    single, both = tmp_path / "run.html", tmp_path / "both.html"
    single.write_text(run_page(runs[1]))
    write_page(compare_files(*paths), both)
    with browser(tmp_path / "profile") as port:
        for file, charts in ((single, 6), (both, 4)):
            async with open_page(port, file.as_uri()) as page:
                await page.wait("document.readyState === 'complete' && document.querySelector('svg') !== null")
                seen = await _look(page)
                assert (seen["charts"], seen["empty"], seen["reachable"], seen["wide"]) == (charts, 0, True, False)
                await page.send("Emulation.setEmulatedMedia", features=[_scheme("dark")])
                assert (await _look(page))["dark"] != seen["dark"]
                assert await page.evaluate(CONTRAST) > 4.5
                await page.send("Emulation.setEmulatedMedia", features=[_scheme("light")])
                assert await page.evaluate(CONTRAST) > 4.5
                await page.send(
                    "Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True
                )
                assert not (await _look(page))["wide"]
                await page.send("Emulation.clearDeviceMetricsOverride")
                assert len((await page.send("Page.printToPDF"))["data"]) > 10_000
                assert [url for url in page.requested if not url.startswith("file:")] == []
                assert page.errors == []


def _scheme(name: str) -> dict[str, str]:
    return {"name": "prefers-color-scheme", "value": name}
