"""The console in a real browser that has no internet: what a person drops, moves and reads."""

import json
from pathlib import Path
from urllib.parse import quote

from gateway.hooks import Business, Prediction
from tests.gateway.browser import IN_BROWSER, open_page
from tests.gateway.console_page import ANSWERED, TEXTS, console, text
from tests.gateway.engine import POLICY, Engine
from tests.gateway.served import gateway_for

pytestmark = IN_BROWSER

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
                # As a request's own key, and yet a part.
                {"key": "observation", "space": {"type": "box", "shape": [1], "dtype": "int8", "low": 1, "high": [5]}},
            ],
        },
        "out_of_range": "reject",
    },
    "action": {"space": {"type": "box", "shape": [2], "dtype": "float32", "low": -2, "high": [2, 2]}, "names": None},
    "echo": {"action": [-1.0, 1.5]},
}


async def test_dropped_picture_is_answered_in_bars(gateway: str, devtools: int, picture: Path) -> None:
    async with console(devtools, gateway) as page:
        await page.drop_file(".drop", picture)
        await page.wait(ANSWERED)
        assert await page.evaluate(TEXTS) == ["7 75 %", "1 25 %"]
        assert await text(page, "verdict") == "7 (75 %)"
        assert "version 1.0" in await text(page, "facts")
        widths = "[...document.querySelectorAll('#bars i')].map(bar => bar.style.width)"
        assert await page.evaluate(widths) == ["75%", "25%"]
        assert await page.evaluate("document.querySelector('.drop img').naturalWidth") == 8
        curl = await page.evaluate("document.getElementById('curl').textContent")
        assert "--data-binary '@a digit'\\''s picture.png' -H 'Content-Type: image/png'" in curl
        assert curl.endswith(f"{gateway}/models/digits/predict")
        assert page.errors == []


async def test_chosen_picture_goes_to_selected_version(gateway: str, devtools: int, picture: Path) -> None:
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


async def test_refusal_shows_gateways_text_and_request_id(gateway: str, devtools: int, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"bad")
    async with console(devtools, gateway) as page:
        await page.choose_file(".drop input", tmp_path / "broken.png")
        await page.wait("!document.getElementById('refusal').hidden")
        words = await text(page, "refusal")
        assert words.startswith("400 unreadable_input: this is not a picture. Request id ")
        assert len(words.rsplit(" ", 1)[1]) == 32
        assert await page.evaluate("document.getElementById('answer').hidden")


async def test_sliders_work_by_keyboard(gateway: str, devtools: int) -> None:
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


async def test_hostile_labels_stay_text(engine: Engine, devtools: int, picture: Path) -> None:
    with gateway_for(engine, business=Business(after={"digits": hostile})) as gateway:
        async with console(devtools, gateway) as page:
            await page.drop_file(".drop", picture)
            await page.wait(ANSWERED)
            assert await page.evaluate(TEXTS) == [f"{HOSTILE} 75 %", "tame 25 %"]
            assert await text(page, "verdict") == f"{HOSTILE} (75 %)"
            assert page.errors == []


async def test_hostile_descriptions_stay_text_and_random_weights_show(engine: Engine, devtools: int) -> None:
    engine.add("arm", ARM)
    try:
        with gateway_for(engine) as gateway:
            async with console(devtools, gateway, "arm") as page:
                assert await text(page, "about") == HOSTILE
                assert not await page.evaluate("document.getElementById('random').hidden")
                assert "random weights" in await text(page, "models")
                labels = "[...document.querySelectorAll('.slider label')].map(each => each.innerText)"
                assert await page.evaluate(labels) == [f"{HOSTILE}[0]", f"{HOSTILE}[1]", "observation"]
                await page.evaluate("document.querySelector('#input button').click()")
                await page.wait(ANSWERED)
                assert await page.evaluate(TEXTS) == ["[0] -1", "[1] 1.5"]
                places = "[...document.querySelectorAll('#bars i')].map(bar => [bar.style.left, bar.style.width])"
                assert await page.evaluate(places) == [["25%", "25%"], ["50%", "37.5%"]]
                body = await page.evaluate("document.getElementById('curl').textContent")
                assert '":[0,0],"observation":[1]}' in body
                assert page.errors == []
    finally:
        engine.manage("DELETE", "/models/arm/1.0")


async def test_hostile_model_name_in_address_stays_text(gateway: str, devtools: int) -> None:
    async with open_page(devtools, f"{gateway}/#model={quote(HOSTILE)}") as page:
        await page.wait(
            f"document.getElementById('about').innerText === {json.dumps(f'No model {HOSTILE} is served.')}"
        )
        assert await page.evaluate("window.broken") is None
        assert page.errors == []
