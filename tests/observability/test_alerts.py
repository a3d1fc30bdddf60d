"""Each alert fires on what it is for and stays silent on what it is not, judged by Prometheus' own promtool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings.load import ROOT

FOLDER = ROOT / "docker" / "prometheus"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")

Series = dict[str, str]
REQUESTS = 'marina_gateway_request_seconds_count{model="m",route="r",status="%s"}'
LATENCY = 'marina_gateway_request_seconds_bucket{model="m",route="r",status="200",le="%s"}'
WAIT = 'marina_gateway_queue_wait_seconds_bucket{model="m",le="%s"}'
EDGE = 'marina_edge_requests_total{model="m",route="r",status="%s"}'
READY, WANTED = (
    'marina_gateway_model_workers_ready{model="m",version="1.0"}',
    'marina_gateway_model_workers_wanted{model="m",version="1.0"}',
)
BEHIND = {'marina_edge_info{model="m",version="1.0"}': "1x30", "marina_gateway_engine_up": "1x30"}
SERVING = 'marina_gateway_model_serving{model="m",version="%s"}'

VOLUME = 'VolumeUtilization{Volume="/tmp",Level="Container",instance="i"}'
MEMORY = 'MemoryUtilization{Level="%s",instance="i"}'
KILLS = 'OutOfMemoryKills{Level="Container",instance="i"}'


def steady(each: dict[str, int], name: str) -> Series:
    """Counters that grow by so much a minute, for half an hour."""
    return {name % label: f"0+{step}x30" for label, step in each.items()}


FIRES: dict[str, Series] = {
    "GatewayDown": {'up{job="gateway"}': "1 0x29"},
    "EngineDown": {"marina_gateway_engine_up": "1 0x29"},
    "MetricsOfEngineMissing": {'up{job="torchserve"}': "1 0x29"},
    "ModelWithoutWorker": {READY: "1 0x29", SERVING % "1.0": "1x30"},
    "WorkersMissing": {READY: "1x30", WANTED: "2x30"},
    "ErrorsOfModel": steady({"200": 600, "503": 60}, REQUESTS),
    "SlowModel": steady({"1.0": 80, "2.0": 100, "+Inf": 100}, LATENCY),
    "QueueFilling": steady({"1.0": 50, "2.0": 100, "+Inf": 100}, WAIT),
    "RequestsShed": {'marina_gateway_shed_total{model="m"}': "0+5x30"},
    "BreakerOpen": {'marina_gateway_breaker_state{model="m"}': "0 2x29"},
    "EdgeDown": {'up{job="edge"}': "1 0x29"},
    "EdgeErrors": steady({"200": 900, "503": 100}, EDGE),
    "EdgeBehind": BEHIND | {SERVING % "1.1": "1x30"},
    "DiskFilling": {VOLUME: "95x30", 'DiskUtilization{Level="Host",instance="i"}': "60x30"},
    # The container's limit is reached long before the host's.
    "MemoryFilling": {MEMORY % "Container": "96x30", MEMORY % "Host": "40x30"},
    "KilledForMemory": {KILLS: "0x25 1x4"},
}  # fmt: skip
SILENT: dict[str, Series] = {
    "GatewayDown": {'up{job="gateway"}': "1x28 0 1"},
    "EngineDown": {"marina_gateway_engine_up": "1x30"},
    "MetricsOfEngineMissing": {'up{job="torchserve"}': "1x28 0 1"},
    # A version that is being taken away, beside the one that serves.
    "ModelWithoutWorker": {READY: "0x30", SERVING % "1.0": "0x30"},
    "WorkersMissing": {READY: "2x30", WANTED: "2x30"},
    "ErrorsOfModel": steady({"200": 600, "400": 600, "499": 600, "429": 600, "503": 6}, REQUESTS),
    "SlowModel": steady({"0.05": 100, "1.0": 100, "+Inf": 100}, LATENCY),
    "QueueFilling": steady({"0.05": 100, "1.0": 100, "+Inf": 100}, WAIT),
    "RequestsShed": {'marina_gateway_shed_total{model="m"}': "7x30"},
    "BreakerOpen": {'marina_gateway_breaker_state{model="m"}': "0x28 2 0"},
    "EdgeDown": {'up{job="gateway"}': "1x30"},
    "EdgeErrors": steady({"200": 900, "422": 100}, EDGE),
    "EdgeBehind": BEHIND | {SERVING % "1.0": "1x30"},
    "DiskFilling": {VOLUME: "60x30", 'DiskUtilization{Level="Host",instance="i"}': "60x30"},
    "MemoryFilling": {MEMORY % "Container": "60x30", MEMORY % "Host": "60x30"},
    "KilledForMemory": {KILLS: "1x30"},
}  # fmt: skip


def alerts() -> dict[str, dict[str, Any]]:
    rules = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return {rule["alert"]: rule for group in rules for rule in group["rules"]}


def test_every_alert_says_what_it_means_and_what_to_do() -> None:
    for name, rule in alerts().items():
        assert rule["labels"]["severity"] in {"page", "ticket"}, name
        assert set(rule["annotations"]) == {"summary", "meaning", "action"}, name
        assert rule["for"]


def test_the_actions_name_targets_and_settings_that_exist() -> None:
    words = (FOLDER / "alerts.yml").read_text()
    targets = set(re.findall(r"^([a-z_]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make ([a-z_]+)", words)) <= targets
    for group, key in re.findall(r"\b(gateway|rollout)\.([a-z_.]+[a-z])\)", words):
        assert re.search(
            rf"^\s*{key.rpartition('.')[2]}:", (ROOT / "config" / group / "default.yaml").read_text(), re.M
        )


def test_every_alert_is_tried() -> None:
    assert set(FIRES) == set(SILENT) == set(alerts())


@needs_promtool
def test_each_fires_on_its_trouble_and_on_nothing_else(tmp_path: Path) -> None:
    cases = [_case(name, series, fires=True) for name, series in FIRES.items()]
    cases += [_case(name, series, fires=False) for name, series in SILENT.items()]
    written = {
        "rule_files": [str(FOLDER / "rules.yml"), str(FOLDER / "alerts.yml")],
        "evaluation_interval": "15s",
        "tests": cases,
    }
    (tmp_path / "tests.yml").write_text(yaml.safe_dump(written))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _case(name: str, series: Series, *, fires: bool) -> dict[str, Any]:
    """All alerts that fire after half an hour: the one that shall, and no other."""
    found = [{"labels": f'{{alertname="{name}"}}', "value": 1}] if fires else []
    return {
        "name": f"{name} {'fires' if fires else 'stays silent'}",
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "promql_expr_test": [
            {"expr": 'count by (alertname) (ALERTS{alertstate="firing"})', "eval_time": "30m", "exp_samples": found}
        ],
    }


@needs_promtool
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    written = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    for job in written["scrape_configs"]:
        job.pop("authorization", None)  # the file of the key is not here
    written["rule_files"] = [str(FOLDER / Path(name).name) for name in written["rule_files"]]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(written))
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
