"""Who can use the console: with a key, by keyboard, in every light and on every screen."""

from pathlib import Path

from gateway.apikey import new_key
from tests.gateway.browser import IN_BROWSER, Page, open_page
from tests.gateway.console_page import ANSWERED, CHOSEN, console, text
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

pytestmark = IN_BROWSER

KEY, DIGEST = new_key()
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


async def test_key_is_asked_for_and_kept_in_the_tab_alone(engine: Engine, devtools: int, picture: Path) -> None:
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


async def test_page_is_legible_in_both_schemes_and_all_widths(gateway: str, devtools: int, picture: Path) -> None:
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


async def test_page_controls_are_named_and_reached_by_tab(gateway: str, devtools: int) -> None:
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
