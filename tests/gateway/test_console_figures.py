"""The console's figures in a real browser: they follow the load, and stop when nobody looks or nobody answers."""

from pathlib import Path
from typing import Any

import pytest

from deployments.traffic import TrafficFile
from tests.gateway.browser import IN_BROWSER, open_page
from tests.gateway.console_page import console, text
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for
from tests.settings.splits import given_split

pytestmark = IN_BROWSER

SPEED = {"downloadThroughput": -1, "uploadThroughput": -1}
COUNT_TIMERS = """{
  window.waiting = new Set();
  const [start, stop] = [window.setTimeout, window.clearTimeout];
  window.setTimeout = (act, ...rest) => {
    const timer = start(() => { window.waiting.delete(timer); act(); }, ...rest);
    window.waiting.add(timer);
    return timer;
  };
  window.clearTimeout = timer => { window.waiting.delete(timer); stop(timer); };
  window.pretend = (what, value) => {
    Object.defineProperty(document, what, { get: () => value, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  };
}"""


async def test_figures_follow_the_load(gateway: str, devtools: int, picture: Path) -> None:
    tile = "document.querySelectorAll('#overview dd')"
    async with console(devtools, gateway) as page:
        await page.drop_file(".drop", picture)
        await page.wait(f"Number({tile}[0].innerText) > 0 && {tile}[1].innerText.endsWith('s')")
        row = "document.querySelector('tr.chosen')"
        assert await page.evaluate(f"Number({row}.cells[1].innerText)") > 0
        assert await page.evaluate(f"{row}.cells[7].innerText") == "2 of 2"
        names = "[...document.querySelectorAll('tr.version th')].map(each => each.innerText)"
        assert await page.evaluate(names) == ["1.0 default", "2.0"]
        assert "idle" in await text(page, "models")
        assert "1 without any" in await text(page, "health")


async def test_version_on_trial_shows_its_share(engine: Engine, devtools: int, tmp_path: Path) -> None:
    TrafficFile(tmp_path / "traffic.json").put("digits", given_split("2.0", weight=0.25, copies=0.1))
    with gateway_for(engine, f"paths.state={tmp_path}") as gateway:
        async with console(devtools, gateway) as page:
            roles = "[...document.querySelectorAll('td.role')].map(each => each.innerText.trim())"
            assert await page.evaluate(roles) == [
                "75 % of requests, 0 so far",
                "on trial: 25 % of requests, 0 so far; copies of 10 %, 0 answered",
            ]
            first = await page.evaluate("document.querySelector('#version option').innerText")
            assert first == "as clients get it: 1.0 75 %, 2.0 25 %"
            assert page.errors == []


async def test_quantile_equals_prometheus(gateway: str, devtools: int) -> None:
    async with console(devtools, gateway) as page:
        await page.evaluate("import('./console/figures.js').then(found => { window.quantile = found.quantile })")
        await page.wait("window.quantile !== undefined")
        # As histogram_quantile has it: 10 answers up to 1 s, 30 up to 2 s, 40 up to 4 s, and 2 that took longer.
        asked = "[0.5, 0.95, 1, 0].map(share => quantile(share, [10, 30, 40, 42], [1, 2, 4]))"
        found: list[Any] = await page.evaluate(f"{asked}.map(value => value === Infinity ? 'longer' : value)")
        assert found[0] == pytest.approx(1 + 11 / 20)
        assert found[1] == pytest.approx(2 + 2 * 9.9 / 10)
        assert found[2:] == ["longer", None]


async def test_poller_stops_while_hidden_or_paused(gateway: str, devtools: int) -> None:
    async with console(devtools, gateway) as page:
        # Timers that wait are counted, so that their absence can be seen without waiting.
        await page.send("Page.enable")
        await page.send("Page.addScriptToEvaluateOnNewDocument", source=COUNT_TIMERS)
        await page.send("Page.reload")
        await page.wait("window.waiting?.size === 1")
        await page.evaluate("pretend('hidden', true)")
        await page.wait("window.waiting.size === 0")
        await page.evaluate("pretend('hidden', false)")
        await page.wait("window.waiting.size === 1")
        await page.evaluate("document.getElementById('pause').click()")
        await page.wait("window.waiting.size === 0")
        assert await page.evaluate("document.getElementById('pause').ariaPressed") == "true"


async def test_lost_gateway_is_shown_and_figures_marked_stale(engine: Engine, devtools: int) -> None:
    with gateway_for(engine) as gateway:
        async with open_page(devtools, gateway) as page:
            await page.wait("!document.getElementById('models').hidden")
            await page.send("Network.emulateNetworkConditions", offline=True, latency=0, **SPEED)
            await page.wait("document.body.classList.contains('stale')")
            words = await text(page, "trouble")
            assert words == "No new figures. 0 unreachable: the gateway does not answer."
            await page.send("Network.emulateNetworkConditions", offline=False, latency=0, **SPEED)
            await page.wait("document.getElementById('trouble').hidden && !document.body.classList.contains('stale')")
