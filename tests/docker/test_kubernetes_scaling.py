"""The autoscaler's metrics exist and grow as they should, according to Prometheus' own promtool."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from gateway.metrics import Metrics
from settings import load
from tests.docker.manifests import FOLDER, one

PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="needs promtool: apt-get install prometheus")
RULES: dict[str, dict[str, Any]] = {
    rule["name"]["as"]: rule
    for rule in yaml.safe_load((FOLDER / "prometheus" / "adapter.yaml").read_text())["externalRules"]
}


def asked(name: str, matchers: str = 'namespace="marina"') -> str:
    """Return a metric's query as the adapter sends it."""
    return str(RULES[name]["metricsQuery"]).replace("<<.LabelMatchers>>", matchers)


def test_every_metric_of_the_autoscaler_has_its_rule() -> None:
    metrics = one("HorizontalPodAutoscaler", "torchserve")["spec"]["metrics"]
    assert {each["external"]["metric"]["name"] for each in metrics} == set(RULES)


def test_the_targets_are_those_of_the_settings() -> None:
    wait, inside = (
        each["external"]["target"] for each in one("HorizontalPodAutoscaler", "torchserve")["spec"]["metrics"]
    )
    loaded = load([])
    assert float(wait["value"]) == loaded.scaling.target_queue_ms
    params = load(["served_model=digits"]).served_model.request_params
    assert float(inside["averageValue"]) == 0.75 * params.initial_workers * params.batch_size


def test_what_the_rules_ask_for_is_what_the_gateway_counts() -> None:
    metrics = Metrics()
    metrics.queued("digits", 0.01)
    metrics.upstream("digits", "200", 0.01)
    families = text_string_to_metric_families(metrics.text().decode())
    told = {sample.name for family in families for sample in family.samples}
    words = " ".join(f"{rule['seriesQuery']} {rule['metricsQuery']}" for rule in RULES.values())
    named = set(re.findall(r"marina_gateway_\w+", words))
    assert named
    assert named <= told


@needs_promtool
def test_the_answers_are_the_wait_and_the_requests_inside(tmp_path: Path) -> None:
    """Two gateways: 60 requests a minute, of 30 ms wait each, and 90 s a minute inside the engines; then silence."""
    series = {
        f'marina_gateway_{name}{{namespace="marina",model="m",pod="{pod}"}}': f"0+{step}x10 {10 * step}x10"
        for pod in ("a", "b")
        for name, step in (
            ("queue_wait_seconds_sum", 1.8), ("queue_wait_seconds_count", 60), ("upstream_seconds_sum", 90),
        )
    }  # fmt: skip
    elsewhere = {key.replace('"marina"', '"other"'): "0+500x20" for key in series}
    expected = {"marina_queue_wait_milliseconds": (30, 0), "marina_engine_requests": (3, 0)}
    asks = [
        {"expr": f"round({asked(name)}, 0.001)", "eval_time": moment, "exp_samples": [{"labels": "{}", "value": value}]}
        for name, values in expected.items()
        for moment, value in zip(("8m", "18m"), values, strict=True)
    ]
    inputs = [{"series": key, "values": values} for key, values in (series | elsewhere).items()]
    test = {"interval": "15s", "input_series": inputs, "promql_expr_test": asks}
    for each in inputs:
        each["values"] = per_quarter(each["values"])
    (tmp_path / "tests.yml").write_text(yaml.safe_dump({"evaluation_interval": "15s", "tests": [test]}))
    done = subprocess.run(
        [str(PROMTOOL), "test", "rules", tmp_path / "tests.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def per_quarter(values: str) -> str:
    """Convert steps of a minute to steps of 15 s."""
    first = values.split()[0]
    step, times = (float(number) for number in re.findall(r"[\d.]+", first)[1:])
    rising = f"0+{step / 4}x{int(4 * times)}"
    return rising if " " not in values else f"{rising} {step * times}x{int(4 * times)}"


@needs_promtool
def test_prometheus_takes_the_jobs(tmp_path: Path) -> None:
    written = yaml.safe_load((FOLDER / "prometheus" / "scrape.yaml").read_text())
    jobs = yaml.safe_load((FOLDER.parent / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    assert {job["job_name"] for job in written["scrape_configs"]} <= {job["job_name"] for job in jobs}
    for job in written["scrape_configs"]:
        job.pop("authorization", None)  # the file of the key is not here
        job.pop("kubernetes_sd_configs")  # Debian's Prometheus is built without
        job["static_configs"] = [{"targets": ["127.0.0.1:1"]}]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(written))
    done = subprocess.run(
        [str(PROMTOOL), "check", "config", tmp_path / "prometheus.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
