"""The search on the real stack: through rollouts, under load, killed and resumed."""

import json
import signal
import threading
import time
from pathlib import Path

import pytest
import requests
import yaml

from tests.e2e.conftest import Stack, unseen_digits

pytestmark = pytest.mark.e2e

QUICK = ("served_model=digits", "stress.clients=4", "stress.warmup=4", "tune.seconds=0.5", "tune.rounds=2")


def _settings(stack: Stack, model: str = "digits") -> dict[str, int]:
    described = requests.get(f"{stack.gateway}/models/{model}", timeout=30).json()
    version = next(each for each in described["versions"] if each["default"])
    return {**version["batch"], "workers": version["workers"]["ready"]}


def test_a_search_without_time_measures_what_serves_and_writes_it_down(stack: Stack, tmp_path: Path) -> None:
    before, file = _settings(stack), tmp_path / "digits.tuned.yaml"
    printed = stack.run("-m", "loadtest.tune", *QUICK, "slo=p99:20s", "tune.minutes=0.001", f"tune.file={file}")
    assert "Best: workers 1" in printed
    assert yaml.safe_load(file.read_text())["request_params"]["batch_size"] == before["batch_size"]
    assert _settings(stack) == before


def test_a_goal_out_of_reach_is_said_with_the_closest_setting_and_nothing_changes(stack: Stack, tmp_path: Path) -> None:
    before, file = _settings(stack), tmp_path / "digits.tuned.yaml"
    words = (*QUICK, "slo=p50:0.001ms", "tune.minutes=0.001", f"tune.file={file}")
    printed = stack.run("-m", "loadtest.tune", *words, status=1)
    assert "No setting keeps the goal; the closest: workers 1" in printed
    assert not file.exists()
    assert _settings(stack) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("slo=fast",), "tune.slo"),
        (("served_model=weather",), "serves no model 'weather'"),
        (("stress.mix={digits: 1}",), "one model is tuned at a time"),
    ],
)
def test_what_cannot_be_tuned_is_one_line(stack: Stack, words: tuple[str, ...], said: str) -> None:
    printed = stack.run("-m", "loadtest.tune", *words, status=1)
    assert said in printed
    assert len(printed.splitlines()) == 1


@pytest.mark.slow
def test_a_search_killed_under_load_goes_on_and_no_client_loses_a_request(stack: Stack, tmp_path: Path) -> None:
    file, statuses, stop = tmp_path / "digits.tuned.yaml", [], threading.Event()
    picture = unseen_digits()[0][0]

    def ask() -> None:
        with requests.Session() as session:
            while not stop.is_set():
                url = f"{stack.gateway}/models/digits/predict"
                statuses.append(session.post(url, data=picture, headers={"Content-Type": "image/png"}).status_code)

    values = ("tune.workers=[1]", "tune.threads=[1,2]", "tune.batch_size=[1,4]", "tune.max_batch_delay=[0,5]")
    words = (*QUICK, *values, "slo=p99:20s", "tune.minutes=3", "tune.repeats=1", f"tune.file={file}")
    journal = stack.state / "tune" / "digits.jsonl"
    client = threading.Thread(target=ask)
    client.start()
    try:
        first = stack.start("-m", "loadtest.tune", *words)
        deadline = time.monotonic() + 120
        while not journal.is_file() or journal.read_text().count('"look"') < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        first.send_signal(signal.SIGKILL)
        first.communicate()
        known = journal.read_text().count('"look"')
        printed = stack.run("-m", "loadtest.tune", *words)
    finally:
        stop.set()
        client.join()
    assert f"goes on after {known} looks" in printed
    assert statuses
    assert set(statuses) == {200}
    tuned = yaml.safe_load(file.read_text())["request_params"]
    serving = _settings(stack)
    assert (tuned["batch_size"], tuned.get("threads")) == (serving["batch_size"], serving.get("threads"))
    report = json.loads(max(Path(stack.env["MARINA_REPORTS"]).glob("tune-digits-*.json")).read_text())
    assert report["reached"] is True
    assert len(report["trials"]) > 2
    stack.run("upload_model.py", "served_model=digits")
