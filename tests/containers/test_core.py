"""The profile core with two uploaded models: health, the console, the doctor, and a stop and start of everything."""

from pathlib import Path

import requests

from tests.containers.load import load
from tests.containers.project import Project
from tests.containers.waiting import wait_until_well
from tests.gateway.browser import IN_BROWSER, browser, open_page
from tests.gateway.test_console_access import type_key


def test_no_request_is_lost_at_rest(core: Project) -> None:
    wait_until_well(core)
    with load(core) as answered:
        answered.wait_for_more(1000)
    assert answered.failures == {}


def test_the_console_is_served_and_its_figures_need_the_key(core: Project) -> None:
    page = requests.get(f"{core.gateway}/", headers={"Accept": "text/html"}, timeout=10)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    assert requests.get(f"{core.gateway}/console/state", timeout=10).status_code == 401
    assert {model["name"] for model in core.get("/console/state").json()["models"]} == {"digits", "cartpole"}


class TestInABrowser:
    pytestmark = IN_BROWSER

    async def test_the_console_asks_for_the_key_and_lists_the_models(self, core: Project, tmp_path: Path) -> None:
        with browser(tmp_path / "profile") as devtools:
            async with open_page(devtools, core.gateway) as page:
                await page.wait("document.activeElement?.id === 'key-field'")
                await type_key(page, core.key)
                await page.wait("document.querySelectorAll('#models a').length === 2")
                assert all("401" in error for error in page.errors)


def test_the_doctor_finds_nothing_open(core: Project) -> None:
    found = core.execute("delivery", "python", "-m", "delivery", "doctor")
    lines = found.splitlines()
    assert lines[-1].startswith("0 open, "), found
    assert len([line for line in lines if line.startswith("gateway ")]) == 2, found  # a part for each gateway


def test_models_come_back_by_themselves_after_down_and_up(core: Project) -> None:
    before = core.get("/models").json()
    core.make("compose_down")
    assert core.containers() == []
    core.start()
    wait_until_well(core)
    assert served(core.get("/models").json()) == served(before)


def served(listed: dict[str, list[dict[str, str]]]) -> dict[str, str]:
    return {model["name"]: model["default_version"] for model in listed["models"]}
