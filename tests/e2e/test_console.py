"""The console over the real stack: a person drops a digit, moves the pole, and reads what the models say."""

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, unseen_digits
from tests.gateway.browser import IN_BROWSER, browser, open_page

pytestmark = [pytest.mark.e2e, *IN_BROWSER]
BARS = "[...document.querySelectorAll('#bars li')]"
VERDICT = "document.getElementById('verdict').innerText"


async def test_a_digit_is_dropped_and_the_pole_is_moved_by_keyboard(stack: Stack, tmp_path: Path) -> None:
    pictures, labels = unseen_digits()
    (tmp_path / "digit.png").write_bytes(pictures[0])
    with browser(tmp_path / "profile") as devtools:
        async with open_page(devtools, f"{stack.gateway}/#model=digits") as page:
            await page.wait("document.querySelector('.drop') !== null")
            await page.drop_file(".drop", tmp_path / "digit.png")
            await page.wait(f"{BARS}.length === 10")
            first = await page.evaluate(f"{BARS}[0].querySelector('.label').innerText")
            assert first == labels[0]
            assert re.fullmatch(rf"{labels[0]} \([\d.]+ %\)", await page.evaluate(VERDICT))

            await page.evaluate("document.querySelector('#models a[href=\"#model=cartpole\"]').click()")
            await page.wait("document.getElementById('number-2') !== null")
            angle = "document.getElementById('number-2')"
            shares = f"{BARS}.map(row => parseFloat(row.querySelector('.value').innerText))"
            leaning = {}
            for key in ("ArrowLeft", "ArrowRight"):
                await page.evaluate("[...document.querySelectorAll('#input button')][1].click()")
                await page.evaluate(f"{angle}.focus()")
                await page.press(key, times=30)
                shown = f"document.getElementById('curl').textContent.includes({angle}.ariaValueText)"
                await page.wait(f"{shown} && !document.getElementById('input').hasAttribute('aria-busy')")
                assert (
                    await page.evaluate("document.querySelector('#bars p').innerText") == "share of 100 drawn actions"
                )
                leaning[key] = await page.evaluate(shares), await page.evaluate(VERDICT)
            assert all(sum(drawn) == pytest.approx(100) for drawn, _ in leaning.values())
            # A pole that leans to one side is caught by a push to that side.
            assert leaning["ArrowLeft"][1] == "left (0)"
            assert leaning["ArrowRight"][1] == "right (1)"
            assert leaning["ArrowLeft"][0][0] > leaning["ArrowRight"][0][0]

            files = await page.evaluate(
                "[document.getElementById('files').hidden, document.getElementById('files').href]"
            )
            assert files == [False, f"{stack.files}/"]
            assert await page.evaluate("document.getElementById('grafana').hidden")
            assert page.errors == []
