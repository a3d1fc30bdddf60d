"""An archive that torch-model-archiver made, adopted by the command, rolled out, and asked through the gateway."""

import json
import re
import threading
import zipfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import requests
import yaml

from tests.archive.foreign_archives import PARROT, parrot, samples
from tests.e2e.adoption_home import FORM, Home
from tests.e2e.conftest import Stack
from tests.e2e.uploads import QUICK
from tests.gateway.browser import IN_BROWSER, browser, open_page
from tests.polling import wait_for

pytestmark = pytest.mark.e2e

VERDICT = "document.getElementById('verdict').innerText"
SERVED = ("served_model=parrot", *QUICK)


def in_browser(test: Callable[..., Coroutine[None, None, None]]) -> Callable[..., Coroutine[None, None, None]]:
    """Marks a test that needs a browser."""
    for mark in IN_BROWSER:
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def home(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(stack, tmp_path_factory.mktemp("adoption"))


@pytest.fixture(scope="module")
def served(home: Home) -> Iterator[Home]:
    """The parrot adopted and rolled out, and gone at the end."""
    archive = parrot(home.folder / "theirs")
    home.adopt(archive, "trust=yes")
    home.stack.run("upload_model.py", *SERVED)
    yield home
    home.remove("parrot")


def test_adoption_keeps_each_file_and_writes_the_settings(served: Home) -> None:
    with (
        zipfile.ZipFile(served.folder / "theirs" / "parrot.mar") as theirs,
        zipfile.ZipFile(served.stack.archives / "parrot.mar") as ours,
    ):
        names = {
            name: "MAR-INF/ADOPTED.json" if name == "MAR-INF/MANIFEST.json" else name for name in theirs.namelist()
        }
        assert {name: theirs.read(name) for name in names} == {name: ours.read(own) for name, own in names.items()}
        golden = json.loads(ours.read("MAR-INF/golden.json"))
    [asked, form, odd, text] = [sample["predictions"][0]["answer"] for sample in golden["samples"]]
    assert asked == {"status": 200, "headers": {}, "json": [1, 2.5]}
    assert form["json"] == {"one": "1", "two": "2"}
    assert (odd["status"], odd["headers"]["x-mood"], odd["headers"]["content-type"]) == (
        418,
        "stout",
        "text/plain; charset=utf-8",
    )
    assert text["base64"] == "SEVMTE8="
    settings = (served.folder / "config" / "served_model" / "parrot.yaml").read_text()
    assert "kind: adopted" in settings
    assert "batch_size: 1" in settings


def test_gateway_passes_requests_and_answers_on_unread(served: Home) -> None:
    assert served.ask({"say": [1, "two", None]}).json() == [1, "two", None]
    url = served.stack.predict_url("parrot")
    form = requests.post(url, data=FORM, headers={"Content-Type": "multipart/form-data; boundary=B"}, timeout=30)
    assert form.json() == {"one": "1", "two": "2"}
    text = requests.post(url, data="größer", headers={"Content-Type": "text/plain; charset=utf-8"}, timeout=30)
    assert text.content == "größer".encode().upper()
    odd = served.ask({"status": 418})
    assert (odd.status_code, odd.text, odd.headers["x-mood"]) == (418, "short and stout", "stout")
    assert odd.headers["content-type"] == "text/plain; charset=utf-8"
    assert odd.headers["x-model-version"].startswith("1.")
    assert "x-worker-pid" not in odd.headers
    named = requests.post(url, json={"header": "X-Who"}, headers={"X-Who": "me"}, timeout=30)
    assert named.json() == ["me", "me"]


def test_handler_that_raises_is_an_error_of_the_gateway(served: Home) -> None:
    answer = served.ask({"fail": 1})
    assert (answer.status_code, answer.json()["error"]) == (500, "internal")


def test_card_says_what_was_adopted_and_hides_where_from(served: Home) -> None:
    [version] = requests.get(f"{served.stack.gateway}/models/parrot", timeout=10).json()["versions"]
    assert (version["kind"], version["golden"], version["weights"]) == ("adopted", "answers", "adopted")
    assert version["input"]["content_types"] == ["application/json", "multipart/form-data; boundary=B", "text/plain"]
    assert "provenance" not in version


@in_browser
async def test_console_sends_text_and_files_and_shows_whatever_is_answered(served: Home, tmp_path: Path) -> None:
    (tmp_path / "raw.bin").write_bytes(b"raw")
    with browser(tmp_path / "profile") as devtools:
        async with open_page(devtools, f"{served.stack.gateway}/#model=parrot") as page:
            await page.wait("document.getElementById('text') !== null")
            await page.evaluate("document.getElementById('text').value = '{\"say\": [1, 2]}'")
            await page.evaluate("document.querySelector('#input button').click()")
            assert "".join((await page.wait(VERDICT)).split()) == "[1,2]"
            await page.drop_file(".drop", tmp_path / "raw.bin")
            await page.wait(f"{VERDICT} === 'RAW'")
            assert page.errors == []


@pytest.mark.slow
def test_adopted_versions_are_compared_by_a_shadow_and_rolled_back_to(served: Home) -> None:
    changed = parrot(served.folder / "blue", PARROT.replace("green", "blue"))
    assert "is kept as it was" in served.adopt(changed, "trust=yes")
    quick = ("shadow.share=1", "shadow.minutes=0.05", "shadow.min_compared=10")
    with asking_parrot(served, {}):
        printed = served.stack.run("upload_model.py", *SERVED, *quick, status=1)
    assert re.search(r"was withdrawn: \d+ of \d+ answers differ", printed)
    assert served.ask({}).json() == {"colour": "green"}
    with asking_parrot(served, {"say": [1]}):
        served.stack.run("upload_model.py", *SERVED, *quick)
    assert served.ask({}).json() == {"colour": "blue"}
    assert " adopted " in served.stack.run("-m", "delivery", "models")
    served.stack.run("-m", "delivery", "rollback", *SERVED)
    assert served.ask({}).json() == {"colour": "green"}


@pytest.mark.slow
def test_version_that_answers_differently_than_when_it_was_adopted_is_not_rolled_out(
    served: Home, tmp_path: Path
) -> None:
    now = tmp_path / "now"
    now.write_text("")
    colour = f"COLOUR = 'red' if open({str(now)!r}).read() else 'blue'"
    served.samples.joinpath("colour.json").write_bytes(b"{}")
    try:
        served.adopt(parrot(tmp_path / "theirs", PARROT.replace('COLOUR = "green"', colour)), "trust=yes")
    finally:
        served.samples.joinpath("colour.json").unlink()
    now.write_text("later")
    printed = served.stack.run("upload_model.py", *SERVED, status=1)
    assert "golden input 2 is answered differently: $[0].colour is 'red' instead of 'blue'" in printed
    assert served.ask({}).json() == {"colour": "green"}


@pytest.mark.slow
def test_handler_that_draws_is_adopted_without_golden_answers_only(served: Home) -> None:
    served.samples.joinpath("drawn.json").write_bytes(b'{"draw": 1}')
    archive = parrot(served.folder / "drawing")
    try:
        printed = served.adopt(archive, "trust=yes", status=1)
        assert "sample drawn.json: its answers differ from run to run" in printed
        assert "no golden answers" in served.adopt(archive, "trust=yes", "golden=none")
    finally:
        served.samples.joinpath("drawn.json").unlink()
    served.stack.run("upload_model.py", *SERVED)
    assert "adopted, golden=none" in served.stack.run("-m", "delivery", "models")
    [version] = requests.get(f"{served.stack.gateway}/models/parrot", timeout=10).json()["versions"]
    assert version["golden"] == "none"


@pytest.mark.slow
def test_canary_that_fails_later_is_withdrawn_and_no_client_pays_for_it(served: Home) -> None:
    before = served.ask({}).json()
    failing = PARROT.replace(
        "    time.sleep", "    CALLS.append(1)\n    if len(CALLS) > 40: raise ValueError()\n    time.sleep"
    )
    changed = parrot(served.folder / "failing", failing.replace("COLOUR =", "CALLS = []\nCOLOUR ="))
    served.adopt(changed, "trust=yes")
    trial = ("canary.weight=0.5", "canary.minutes=1", "canary.min_requests=20", "canary.max_latency_ratio=1000")
    with asking_parrot(served, {"say": 1}) as statuses:
        printed = served.stack.run("upload_model.py", *SERVED, *trial, status=1)
    assert re.search(r"was withdrawn: .* failed \(5xx\)", printed)
    assert statuses == {200}
    assert served.ask({}).json() == before


@pytest.mark.slow
def test_tuner_searches_with_the_samples(served: Home) -> None:
    served.adopt(parrot(served.folder / "tuned"), "trust=yes")
    served.stack.run("upload_model.py", *SERVED)
    file = served.folder / "parrot.tuned.yaml"
    quick = ("stress.clients=2", "stress.warmup=2", "tune.seconds=0.5", "tune.rounds=2", "tune.minutes=0.001")
    words = ("served_model=parrot", "slo=p99:60s", *quick, f"tune.file={file}")
    assert "Best: workers 1" in served.stack.run("-m", "loadtest.tune", *words)
    assert yaml.safe_load(file.read_text())["request_params"]["initial_workers"] == 1


@pytest.mark.slow
def test_workers_follow_the_limits_of_scaling(served: Home) -> None:
    for number in (2, 1):
        limits = f"scaling.models={{parrot:{{min_workers:{number},max_workers:{number}}}}}"
        scaler = served.stack.start("-m", "delivery", "scale", limits, *QUICK)
        try:
            wait_for(lambda number=number: served.workers() == number)  # type: ignore[misc]
        finally:
            scaler.terminate()
            printed = scaler.communicate()[0]
        assert f"parrot gets {number} workers instead of {3 - number}" in printed
    assert served.ask({"say": [1]}).json() == [1]


@pytest.mark.slow
def test_doctor_finds_nothing_wrong_with_an_adopted_archive(served: Home) -> None:
    with served.stack.start("-m", "delivery", "doctor", "--json") as doctor:
        findings = json.loads(doctor.communicate()[0])
    archives = [each["state"] for each in findings if each["part"] in ("archives", "rollouts")]
    assert archives
    assert "open" not in archives


@pytest.mark.slow
def test_adoption_that_is_killed_ends_its_own_engine_and_can_be_repeated(served: Home, tmp_path: Path) -> None:
    number = tmp_path / "pid"
    text = PARROT.replace("    time.sleep", f"    open({str(number)!r}, 'w').write(str(os.getpid()))\n    time.sleep")
    archive = parrot(tmp_path / "theirs", f"import os\n{text}")
    asked = samples(tmp_path / "samples", asked__json=b'{"sleep": 600}')
    words = ("-m", "delivery", "adopt", str(archive), str(asked), "trust=yes", "model=killed")
    process = served.stack.start(*words)
    try:
        wait_for(lambda: number.exists() and number.read_text() != "")
        assert adopting(served) != []
    finally:
        process.kill()
        process.communicate()
    wait_for(lambda: adopting(served) == [])
    assert sorted(served.stack.archives.glob("*killed*")) == []
    assert not (served.folder / "config" / "served_model" / "killed.yaml").exists()
    samples(asked, asked__json=b'{"say": [1]}')
    assert "1 sample recorded" in served.stack.run(*words)
    served.stack.run("upload_model.py", "served_model=killed", *QUICK)
    try:
        answer = requests.post(served.stack.predict_url("killed"), json={"say": [2]}, timeout=30)
        assert answer.json() == [2]
    finally:
        served.remove("killed")


def adopting(home: Home) -> list[str]:
    """The command lines of what runs out of the folder of adoptions."""
    folder = str(home.stack.state / "adoptions")
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            found.append(" ".join(process.cmdline()))
    return [line for line in found if folder in line]


@contextmanager
def asking_parrot(home: Home, content: object) -> Iterator[set[int]]:
    """A client that keeps asking until the block ends; yields the statuses that it gets."""
    over, statuses = threading.Event(), set[int]()

    def ask() -> None:
        while not over.is_set():
            statuses.add(home.ask(content).status_code)

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield statuses
    finally:
        over.set()
        thread.join()
