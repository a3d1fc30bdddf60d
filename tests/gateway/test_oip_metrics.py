"""The gateway's metrics under Triton's names, judged by Prometheus' own promtool where it is installed."""

import re
import subprocess
from collections.abc import Iterator

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from gateway.oip.triton_metrics import triton_text
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for
from tests.observability.test_alerts import PROMTOOL, needs_promtool

STATE = {"name": "observation", "datatype": "FP32", "shape": [2, 4], "data": [0.0] * 8}


@pytest.fixture(scope="module")
def text(given: GivenTorchServe) -> Iterator[str]:
    """The metrics after an inference of two states that was answered, and one that was refused."""
    with gateway_for(given) as gateway:
        for model in ("cartpole", "digits"):
            requests.post(f"{gateway}/v2/models/{model}/infer", json={"inputs": [STATE]}, timeout=30)
        yield requests.get(f"{gateway}/metrics?names=triton", timeout=30).text
        assert "nv_inference" not in requests.get(f"{gateway}/metrics", timeout=30).text
        assert requests.get(f"{gateway}/metrics?names=other", timeout=30).status_code == 422


def test_metrics_with_tritons_names_follow_marinas_own(text: str) -> None:
    assert "marina_gateway_request_seconds_count" in text
    cartpole, digits = 'model="cartpole",version="1.0"', 'model="digits",version="1.0"'
    for line in (
        f"nv_inference_request_success{{{cartpole}}} 1",
        f"nv_inference_count{{{cartpole}}} 2",
        f"nv_inference_exec_count{{{cartpole}}} 1",
        f"nv_inference_queue_duration_us{{{cartpole}}} 0",
        f'nv_inference_request_failure{{{digits},reason="OTHER"}} 1',
        f'nv_inference_request_failure{{{digits},reason="BACKEND"}} 0',
        f"nv_inference_pending_request_count{{{digits}}} 0",
    ):
        assert f"\n{line}\n" in text
    for stage in ("request", "compute_infer"):
        assert int(re.findall(rf"nv_inference_{stage}_duration_us{{{cartpole}}} (\d+)", text)[0]) > 0


def test_label_of_a_metric_is_escaped() -> None:
    name = 'a"b\\c\nd'
    (sample, *_) = next(iter(text_string_to_metric_families(triton_text({(name, "1"): {}}, {}).decode()))).samples
    assert sample.labels == {"model": name, "version": "1"}


@needs_promtool
def test_promtool_reads_both_forms_of_the_metrics(text: str) -> None:
    own = text[: text.index("# HELP nv_")]
    for form in (own, text):
        done = subprocess.run(
            [str(PROMTOOL), "check", "metrics"], input=form, capture_output=True, text=True, check=False
        )
        # 3: read, with remarks on names. These are Triton's, and the library's own.
        assert done.returncode in (0, 3), done.stderr
        remarks = {line.split()[0] for line in done.stderr.splitlines()}
        assert {name for name in remarks if not name.startswith("nv_")} == set()
