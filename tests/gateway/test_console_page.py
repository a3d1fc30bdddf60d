"""The console in a real browser that has no internet: what a person sees, drops, moves and reads."""

import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from delivery.traffic import Splits
from gateway.apikey import new_key
from gateway.hooks import Business, Prediction
from gateway.samples import PICTURE
from settings.traffic import Split
from tests.gateway.browser import CHROMIUM, Page, browser, open_page
from tests.gateway.engine import POLICY, Engine
from tests.gateway.served import gateway_for

pytestmark = [
    pytest.mark.browser,
    pytest.mark.anyio,
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine"),
]
KEY, DIGEST = new_key()
HOSTILE = '<img src=x onerror="window.broken=1">'
ARM = {
    **POLICY,
    "description": HOSTILE,
    "weights": "random",
    "observation": {
        "fields": None,
        "space": {
            "type": "dict",
            "spaces": [
                {"key": HOSTILE, "space": {"type": "box", "shape": [2], "dtype": "float32", "low": -1, "high": 1}},
                {"key": "gear", "space": {"type": "box", "shape": [1], "dtype": "int64", "low": [1], "high": [5]}},
            ],
        },
        "out_of_range": "reject",
    },
    "action": {"space": {"type": "box", "shape": [2], "dtype": "float32", "low": -2, "high": [2, 2]}, "names": None},
    "echo": {"action": [-1.0, 1.5]},
}
TEXTS = "[...document.querySelectorAll('#bars li')].map(row => row.innerText.replaceAll('\\n', ' '))"
ANSWERED = "document.querySelectorAll('#bars li').length > 0 && !document.getElementById('answer').hidden"
CHOSEN = "document.querySelector('#models a[aria-current]')?.textContent"
# The worst contrast of any text that is shown, each against the nearest background behind it.
CONTRAST = """(() => {
  const parts = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = colour => { const [r, g, b] = parts(colour).slice(0, 3).map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = each => { for (; each; each = each.parentElement) {
    const colour = getComputedStyle(each).backgroundColor; if ((parts(colour)[3] ?? 1) === 1) return colour; } };
  const worded = [...document.querySelectorAll('body *')].filter(each => each.checkVisibility() &&
    [...each.childNodes].some(node => node.nodeType === 3 && node.textContent.trim() !== ''));
  const found = worded.map(each => { const [a, b] = [light(getComputedStyle(each).color), light(behind(each))];
    return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), each.textContent.trim().slice(0, 30)]; });
  return found.sort(([one], [other]) => one - other)[0];
})()"""


@pytest.fixture(scope="module")
def devtools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with browser(tmp_path_factory.mktemp("profile")) as port:
        yield port


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "a digit's picture.png"
    file.write_bytes(PICTURE)
    return file


@asynccontextmanager
async def console(devtools: int, gateway: str, model: str = "digits") -> AsyncIterator[Page]:
    """The console with this model chosen; at the end nothing has gone wrong, and nobody else was asked for anything."""
    async with open_page(devtools, f"{gateway}/#model={quote(model, safe='')}") as page:
        await page.wait(f"{CHOSEN} === {json.dumps(model)}")
        await page.wait("!document.getElementById('asking').hidden")
        yield page
        outside = {urlsplit(url).netloc for url in page.requested if not url.startswith(("data:", "blob:"))}
        assert outside == {urlsplit(gateway).netloc}
        assert await page.evaluate("window.broken") is None


async def text(page: Page, element: str) -> str:
    return str(await page.evaluate(f"document.getElementById('{element}').innerText"))


async def test_a_picture_that_is_dropped_is_answered_in_bars(gateway: str, devtools: int, picture: Path) -> None:
    async with console(devtools, gateway) as page:
        await page.drop_file(".drop", picture)
        await page.wait(ANSWERED)
        assert await page.evaluate(TEXTS) == ["7 75 %", "1 25 %"]
        assert await text(page, "verdict") == "7, 75 % sure"
        assert "version 1.0" in await text(page, "facts")
        widths = "[...document.querySelectorAll('#bars i')].map(bar => bar.style.width)"
        assert await page.evaluate(widths) == ["75%", "25%"]
        assert await page.evaluate("document.querySelector('.drop img').naturalWidth") == 8
        curl = await page.evaluate("document.getElementById('curl').textContent")
        assert "--data-binary '@a digit'\\''s picture.png' -H 'Content-Type: image/png'" in curl
        assert curl.endswith(f"{gateway}/models/digits/predict")
        assert page.errors == []


async def test_a_picture_that_is_chosen_is_asked_of_the_version_that_is_named(
    gateway: str, devtools: int, picture: Path
) -> None:
    async with console(devtools, gateway) as page:
        versions = "[...document.querySelectorAll('#version option')].map(each => each.innerText)"
        assert await page.evaluate(versions) == ["default (1.0)", "1.0", "2.0"]
        await page.choose_file(".drop input", picture)
        await page.wait(ANSWERED)
        assert "version 1.0" in await text(page, "facts")
        field = "document.getElementById('version')"
        await page.evaluate(f"{field}.value = '2.0'; {field}.dispatchEvent(new Event('change'))")
        await page.wait("document.getElementById('facts').innerText.includes('version 2.0')")
        assert page.errors == []


async def test_what_the_gateway_refuses_is_shown_in_its_words(gateway: str, devtools: int, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"bad")
    async with console(devtools, gateway) as page:
        await page.choose_file(".drop input", tmp_path / "broken.png")
        await page.wait("!document.getElementById('refusal').hidden")
        words = await text(page, "refusal")
        assert words.startswith("400 unreadable_input: this is not a picture. Request id ")
        assert len(words.rsplit(" ", 1)[1]) == 32
        assert await page.evaluate("document.getElementById('answer').hidden")


async def test_a_policys_inputs_are_moved_by_keyboard(gateway: str, devtools: int) -> None:
    async with console(devtools, gateway, "cartpole") as page:
        labels = "[...document.querySelectorAll('.slider label')].map(each => each.innerText)"
        assert await page.evaluate(labels) == ["cart_position", "cart_velocity", "pole_angle", "pole_angular_velocity"]
        await page.evaluate("document.getElementById('version').focus()")
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.id") == "number-0"
        ring = "getComputedStyle(document.activeElement).outlineStyle"
        assert await page.evaluate(ring) == "solid"
        await page.press("ArrowRight", times=10)
        await page.wait(
            f"{ANSWERED} && document.getElementById('curl').textContent.includes('\"cart_position\":0.48,')"
        )
        assert await page.evaluate("document.activeElement.getAttribute('aria-valuetext')") == "0.48"
        assert await page.evaluate(TEXTS) == ["left (0)", "right (1) chosen"]
        assert await text(page, "verdict") == "right (1)"
        await page.press("Tab")
        assert await page.evaluate("document.activeElement.ariaLabel") == "cart_position, exact value"
        await page.evaluate("document.activeElement.select()")
        await page.send("Input.insertText", text="-1.25")
        await page.wait("document.getElementById('curl').textContent.includes('\"cart_position\":-1.25,')")
        assert page.errors == []


async def hostile(prediction: Prediction) -> Prediction:
    probabilities = {HOSTILE: 0.75, "tame": 0.25}
    return prediction.with_predictions([{"label": HOSTILE, "confidence": 0.75, "probabilities": probabilities}])


async def test_labels_stay_text_whatever_they_hold(engine: Engine, devtools: int, picture: Path) -> None:
    with gateway_for(engine, business=Business(after={"digits": hostile})) as gateway:
        async with console(devtools, gateway) as page:
            await page.drop_file(".drop", picture)
            await page.wait(ANSWERED)
            assert await page.evaluate(TEXTS) == [f"{HOSTILE} 75 %", "tame 25 %"]
            assert await text(page, "verdict") == f"{HOSTILE}, 75 % sure"
            assert page.errors == []


async def test_descriptions_and_fields_stay_text_and_random_weights_are_named(engine: Engine, devtools: int) -> None:
    engine.add("arm", ARM)
    try:
        with gateway_for(engine) as gateway:
            async with console(devtools, gateway, "arm") as page:
                assert await text(page, "about") == HOSTILE
                assert not await page.evaluate("document.getElementById('random').hidden")
                assert "random weights" in await text(page, "models")
                labels = "[...document.querySelectorAll('.slider label')].map(each => each.innerText)"
                assert await page.evaluate(labels) == [f"{HOSTILE}[0]", f"{HOSTILE}[1]", "gear"]
                await page.evaluate("document.querySelector('#input button').click()")
                await page.wait(ANSWERED)
                assert await page.evaluate(TEXTS) == ["[0] -1", "[1] 1.5"]
                places = "[...document.querySelectorAll('#bars i')].map(bar => [bar.style.left, bar.style.width])"
                assert await page.evaluate(places) == [["25%", "25%"], ["50%", "37.5%"]]
                body = await page.evaluate("document.getElementById('curl').textContent")
                assert '":[0,0],"gear":[1]}' in body
                assert page.errors == []
    finally:
        engine.manage("DELETE", "/models/arm/1.0")


async def test_an_address_that_names_a_hostile_model_stays_text(gateway: str, devtools: int) -> None:
    async with open_page(devtools, f"{gateway}/#model={quote(HOSTILE)}") as page:
        await page.wait(
            f"document.getElementById('about').innerText === {json.dumps(f'No model {HOSTILE} is served.')}"
        )
        assert await page.evaluate("window.broken") is None
        assert page.errors == []


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


async def test_a_version_under_trial_is_shown_with_its_share(engine: Engine, devtools: int, tmp_path: Path) -> None:
    split = Split(
        stable="1.0",
        trial="2.0",
        weight=0.25,
        sticky_header=None,
        copies=0.1,
        max_copies=8,
        copy_timeout_s=10,
        tolerance=0.001,
        until=time.time() + 600,
    )
    Splits(tmp_path / "traffic.json").put("digits", split)
    with gateway_for(engine, f"paths.state={tmp_path}") as gateway:
        async with console(devtools, gateway) as page:
            roles = "[...document.querySelectorAll('td.role')].map(each => each.innerText.trim())"
            assert await page.evaluate(roles) == [
                "75 % of requests, 0 so far",
                "under trial: 25 % of requests, 0 so far; copies of 10 %, 0 answered",
            ]
            first = await page.evaluate("document.querySelector('#version option').innerText")
            assert first == "as clients get it: 1.0 75 %, 2.0 25 %"
            assert page.errors == []


async def test_a_gateway_with_keys_asks_for_one_and_the_tab_alone_keeps_it(
    engine: Engine, devtools: int, picture: Path
) -> None:
    with gateway_for(engine, f"gateway.security.api_keys=[{{name: mine, sha256: {DIGEST}}}]") as gateway:
        async with open_page(devtools, gateway) as page:
            await page.wait("document.activeElement?.id === 'key-field'")
            assert "answers only those who have an API key" in await text(page, "key-words")
            await type_key(page, "wrong")
            await page.wait("document.getElementById('key-words').innerText.includes('does not know this key')")
            await type_key(page, KEY)
            await page.wait("document.getElementById('key').hidden && !document.getElementById('models').hidden")
            await page.evaluate("location.hash = '#model=digits'")
            await page.wait(f"{CHOSEN} === 'digits' && document.querySelector('.drop') !== null")
            await page.drop_file(".drop", picture)
            await page.wait(ANSWERED)
            curl = await page.evaluate("document.getElementById('curl').textContent")
            assert KEY not in curl
            assert '-H "Authorization: Bearer $MARINA_API_KEY"' in curl
            assert await page.evaluate("[localStorage.length, document.cookie, location.search]") == [0, "", ""]
            assert KEY not in "".join(page.requested)
            assert all("401" in error for error in page.errors)
            await page.evaluate("document.getElementById('forget').click()")
            await page.wait("document.activeElement?.id === 'key-field' && sessionStorage.length === 0")


async def type_key(page: Page, key: str) -> None:
    await page.evaluate("document.getElementById('key-field').focus()")
    await page.send("Input.insertText", text=key)
    await page.evaluate("document.querySelector('#key button').click()")


async def test_it_is_legible_in_every_light_and_on_every_screen(gateway: str, devtools: int, picture: Path) -> None:
    async with console(devtools, gateway) as page:
        await page.drop_file(".drop", picture)
        await page.wait(ANSWERED)
        grounds = set()
        for scheme in ("light", "dark"):
            feature = {"name": "prefers-color-scheme", "value": scheme}
            await page.send("Emulation.setEmulatedMedia", features=[feature])
            grounds.add(await page.evaluate("getComputedStyle(document.body).backgroundColor"))
            ratio, words = await page.evaluate(CONTRAST)
            assert ratio >= 4.5, (scheme, words)
        assert len(grounds) == 2
        for width in (320, 390, 768, 1400):
            size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
            await page.send("Emulation.setDeviceMetricsOverride", **size)
            assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), width
        await page.send("Emulation.clearDeviceMetricsOverride")
        await page.send("Emulation.setEmulatedMedia", features=[])
        assert page.errors == []


async def test_everything_that_can_be_used_has_a_name_and_its_place_in_the_order_of_tab(
    gateway: str, devtools: int
) -> None:
    async with console(devtools, gateway, "cartpole") as page:
        shown = "[...document.querySelectorAll('a, button, input, select')].filter(each => each.checkVisibility())"
        tree = (await page.send("Accessibility.getFullAXTree"))["nodes"]
        kinds = {"link", "button", "slider", "spinbutton", "combobox", "checkbox"}
        nodes = [each for each in tree if each.get("role", {}).get("value") in kinds and not each["ignored"]]
        assert len(nodes) >= await page.evaluate(f"{shown}.length")
        assert [node for node in nodes if not node["name"]["value"].strip()] == []
        count = await page.evaluate(f"{shown}.length")
        await page.evaluate("document.querySelector('.skip').focus()")
        reached = [await page.evaluate("document.activeElement.outerHTML")]
        for _ in range(count - 1):
            await page.press("Tab")
            reached.append(await page.evaluate("document.activeElement.outerHTML"))
        assert len(set(reached)) == count
        await page.evaluate("document.querySelector('#models a').focus()")
        await page.press("Enter")


async def test_nothing_is_asked_while_nobody_looks(gateway: str, devtools: int) -> None:
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


async def test_a_gateway_that_went_away_is_told_and_old_figures_are_pale(engine: Engine, devtools: int) -> None:
    with gateway_for(engine) as gateway:
        async with open_page(devtools, gateway) as page:
            await page.wait("!document.getElementById('models').hidden")
            await page.send("Network.emulateNetworkConditions", offline=True, latency=0, **SPEED)
            await page.wait("document.body.classList.contains('stale')")
            words = await text(page, "trouble")
            assert words == "No new figures. 0 unreachable: the gateway does not answer."
            await page.send("Network.emulateNetworkConditions", offline=False, latency=0, **SPEED)
            await page.wait("document.getElementById('trouble').hidden && !document.body.classList.contains('stale')")


SPEED = {"downloadThroughput": -1, "uploadThroughput": -1}


async def test_percentiles_are_those_of_prometheus(gateway: str, devtools: int) -> None:
    async with console(devtools, gateway) as page:
        await page.evaluate("import('./console/figures.js').then(found => { window.quantile = found.quantile })")
        await page.wait("window.quantile !== undefined")
        # As histogram_quantile has it: 10 answers up to 1 s, 30 up to 2 s, 40 up to 4 s, and 2 that took longer.
        asked = "[0.5, 0.95, 1, 0].map(share => quantile(share, [10, 30, 40, 42], [1, 2, 4]))"
        found: list[Any] = await page.evaluate(f"{asked}.map(value => value === Infinity ? 'longer' : value)")
        assert found[0] == pytest.approx(1 + 11 / 20)
        assert found[1] == pytest.approx(2 + 2 * 9.9 / 10)
        assert found[2:] == ["longer", None]
