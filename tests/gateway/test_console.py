"""The console as HTTP: its files, its figures, and what a key keeps closed."""

import json
import multiprocessing
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

import settings
from deployments.traffic import TrafficFile
from errors import ConfigError
from gateway.apikey import new_key
from gateway.console.page_files import FOLDER
from gateway.console.stats import covers_all_processes
from gateway.examples import PICTURE
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for
from tests.polling import wait_for
from tests.settings.splits import given_split

HTML = {"Accept": "text/html,application/xhtml+xml"}
KEY, DIGEST = new_key()
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
SENT = sorted(path.name for path in FOLDER.iterdir() if path.suffix in KINDS)


def state(gateway: str) -> dict[str, Any]:
    found: dict[str, Any] = requests.get(f"{gateway}/console/state", timeout=30).json()
    return found


def model(gateway: str, name: str) -> dict[str, Any]:
    return next((each for each in state(gateway)["models"] if each["name"] == name), {})


def test_home_is_page_for_browsers_and_json_for_others(gateway: str) -> None:
    page = requests.get(f"{gateway}/", headers=HTML, timeout=30)
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["vary"] == "accept"
    for accept in ({}, {"Accept": "*/*"}, {"Accept": "application/json"}):
        answer = requests.get(f"{gateway}/", headers=accept, timeout=30)
        assert (answer.json()["status"], answer.headers["vary"]) == ("healthy", "accept")


def test_page_has_nothing_inline_or_external(gateway: str) -> None:
    page = requests.get(f"{gateway}/", headers=HTML, timeout=30)
    policy = page.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert {"default-src 'none'", "script-src 'self'", "style-src 'self'"} <= set(policy.split("; "))
    assert not re.search(r"<style|\sstyle=|\son[a-z]+=|<script>|<script [^>]*>[^<]", page.text)
    for name in SENT:
        text = (FOLDER / name).read_text()
        assert [url for url in re.findall(r"https?://[^\"'\s]*", text) if url != "http://www.w3.org/2000/svg"] == []
        assert "innerHTML" not in text


def test_page_files_named_anywhere_exist(gateway: str) -> None:
    page = requests.get(f"{gateway}/", headers=HTML, timeout=30).text
    named = set(re.findall(r'(?:src|href)="console/([^"]+)"', page))
    named |= {name for each in SENT for name in re.findall(r'from "\./([^"]+)"', (FOLDER / each).read_text())}
    assert named == set(SENT)
    for name in named:
        answer = requests.get(f"{gateway}/console/{name}", timeout=30)
        assert (answer.status_code, answer.headers["content-type"].split(";")[0]) == (200, KINDS[Path(name).suffix])
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/", "/console/main.js"])
def test_page_file_known_to_browser_is_not_modified(gateway: str, path: str) -> None:
    first = requests.get(gateway + path, headers=HTML, timeout=30)
    assert first.headers["cache-control"] == "no-cache"
    mark = first.headers["etag"]
    for known in (mark, f'"other", W/{mark}'):
        again = requests.get(gateway + path, headers={**HTML, "If-None-Match": known}, timeout=30)
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", mark)
    assert requests.get(gateway + path, headers={**HTML, "If-None-Match": '"other"'}, timeout=30).content


@pytest.mark.parametrize("name", ["../state.py", "%2e%2e%2fstate.py", "index.html", "nothing.js", "state/"])
def test_page_files_other_names_are_not_found(gateway: str, name: str) -> None:
    assert requests.get(f"{gateway}/console/{name}", timeout=30).status_code == 404


def test_state_counts_answers_by_status_and_time(gateway: str) -> None:
    wait_for(lambda: bool(model(gateway, "digits")))
    before = model(gateway, "digits")
    for body, status in ((PICTURE, 200), (PICTURE, 200), (b"bad", 400)):
        sent = {"Content-Type": "image/png"}
        answer = requests.post(f"{gateway}/models/digits/predict", data=body, headers=sent, timeout=30)
        assert answer.status_code == status
    wait_for(lambda: model(gateway, "digits")["statuses"] != before["statuses"])
    wait_for(lambda: sum(model(gateway, "digits")["statuses"].values()) == sum(before["statuses"].values()) + 3)
    after = model(gateway, "digits")
    assert after["statuses"]["200"] - before["statuses"].get("200", 0) == 2
    assert after["latency"][-1] - before["latency"][-1] == 2
    assert after["latency"] == sorted(after["latency"])
    assert len(after["latency"]) == len(state(gateway)["bounds_s"]) + 1


def test_state_agrees_with_models_route(gateway: str) -> None:
    wait_for(lambda: state(gateway)["engine_answers"] is True)
    told = {each["name"]: each for each in state(gateway)["models"]}
    for listed in requests.get(f"{gateway}/models", timeout=30).json()["models"]:
        shown = told[listed["name"]]
        assert shown["default_version"] == listed["default_version"]
        for one, other in zip(shown["versions"], listed["versions"], strict=True):
            assert (one["version"], one["kind"]) == (other["version"], other.get("kind"))
            assert one["workers"] == {key: other["workers"][key] for key in ("ready", "total")}
            assert one["pending"] == other["queue"]["pending"]


def test_state_of_trial_has_share_and_answers(engine: Engine, tmp_path: Path) -> None:
    with gateway_for(engine, f"paths.state={tmp_path}") as gateway:
        wait_for(lambda: bool(model(gateway, "digits")))
        assert model(gateway, "digits")["split"] is None
        TrafficFile(tmp_path / "traffic.json").put("digits", given_split("2.0", weight=0.5))
        wait_for(lambda: model(gateway, "digits")["split"] is not None)
        told = model(gateway, "digits")["split"]
        assert (told["stable"], told["trial"], told["weight"], told["copies"]) == ("1.0", "2.0", 0.5, 0)
        for _ in range(4):
            requests.post(f"{gateway}/models/digits/predict", data=PICTURE, timeout=30)
        wait_for(lambda: sum(model(gateway, "digits")["split"]["answered"].values()) == 4)
        assert set(model(gateway, "digits")["split"]["answered"]) == {"1.0", "2.0"}


def test_state_without_engine_says_so(no_engine: Engine) -> None:
    with gateway_for(no_engine) as gateway:
        assert requests.get(f"{gateway}/", headers=HTML, timeout=30).status_code == 200
        wait_for(lambda: state(gateway)["engine_answers"] is False)
        assert state(gateway)["models"] == []


def test_covers_all_processes_is_false_without_shared_counts() -> None:
    assert covers_all_processes(None)
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert not pool.apply(covers_all_processes, (None,))


@pytest.fixture(scope="module")
def locked(engine: Engine) -> Iterator[str]:
    with gateway_for(engine, f"gateway.security.api_keys=[{{name: mine, sha256: {DIGEST}}}]") as url:
        yield url


def test_page_needs_no_key_but_state_does(locked: str) -> None:
    assert requests.get(f"{locked}/", headers=HTML, timeout=30).status_code == 200
    assert {requests.get(f"{locked}/console/{name}", timeout=30).status_code for name in SENT} == {200}
    for path in ("/", "/console/state", "/console/nothing.js", "/models"):
        assert requests.get(locked + path, timeout=30).status_code == 401
    opened = requests.get(f"{locked}/console/state", headers={"Authorization": f"Bearer {KEY}"}, timeout=30)
    assert (opened.status_code, opened.headers["cache-control"]) == (200, "no-store")


def test_state_links_follow_settings(engine: Engine, gateway: str) -> None:
    store = settings.load(["store=nginx"]).store
    assert state(gateway)["links"]["files"] == getattr(store, "url", "")
    named = ("gateway.console.files=''", "gateway.console.grafana=https://graphs.example/d/models")
    with gateway_for(engine, *named) as other:
        assert state(other)["links"] == {"files": None, "grafana": "https://graphs.example/d/models"}


@pytest.mark.parametrize("url", ["javascript:alert(1)", "graphs", "ftp://graphs"])
def test_console_link_must_be_http(url: str) -> None:
    with pytest.raises(ConfigError):
        settings.load([f"gateway.console.grafana='{url}'"])


def test_openapi_example_of_state_has_its_fields(gateway: str) -> None:
    paths = requests.get(f"{gateway}/openapi.json", timeout=30).json()["paths"]
    shown = paths["/console/state"]["get"]["responses"]["200"]["content"]["application/json"]["example"]
    wait_for(lambda: bool(model(gateway, "digits")))
    found = state(gateway)
    assert set(shown) == set(found)
    assert set(shown["models"][0]) == set(found["models"][0])
    assert set(shown["models"][0]["versions"][0]) == set(found["models"][0]["versions"][0])
    assert json.dumps(shown)
