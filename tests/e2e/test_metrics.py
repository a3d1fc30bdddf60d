"""What dashboards and alerts ask for is what a real run tells."""

import re
from collections import defaultdict

import pytest
import requests
import yaml

from gateway.metrics import Metrics
from settings.load import ROOT
from tests.e2e.conftest import Stack, unseen_digits
from tests.observability.queries import OWN, everything, metrics, recorded

pytestmark = pytest.mark.e2e
ADDED = {"job", "instance"}  # by Prometheus to every sample


def test_every_metric_and_label_of_a_query_is_in_what_is_served(stack: Stack) -> None:
    picture, headers = unseen_digits()[0][0], {"Content-Type": "image/png"}
    requests.post(f"{stack.gateway}/models/digits/predict", data=picture, headers=headers, timeout=30)
    requests.post(f"{stack.gateway}/models/cartpole/predict", json=[0, 0, 0, 0], timeout=30)
    state = {"name": "observation", "datatype": "FP32", "shape": [1, 4], "data": [0, 0, 0, 0]}
    requests.post(f"{stack.gateway}/v2/models/cartpole/infer", json={"inputs": [state]}, timeout=30)
    metrics_url = f"http://127.0.0.1:{stack.env['MARINA_METRICS_PORT']}/metrics"
    served = [requests.get(url, timeout=30).text for url in (f"{stack.gateway}/metrics?names=triton", metrics_url)]
    known = _samples("\n".join(served))
    for name, labels in (_declared() | _counted_on_occasion() | _of_the_edge()).items():
        known[name] |= labels
    for query in everything():
        found = {name for name in metrics(query) if name not in OWN | recorded()}
        assert found <= set(known), query
        # Labels are held against the query as a whole: both sides of a division need not have each.
        told = set().union(*(known[name] for name in found)) | ADDED | {"le"}
        if metrics(query).keys() & recorded():
            told.add("model")
        assert set().union(*metrics(query).values()) <= told | {"alertstate"}, query


def _samples(text: str) -> dict[str, set[str]]:
    """Metrics that have a sample, with their labels."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, labels in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? ", text, re.MULTILINE):
        found[name] |= set(re.findall(r'(\w+)="', labels))
    return found


def _declared() -> dict[str, set[str]]:
    """What TorchServe may tell: it stays silent about what has not happened, and about the host in local runs."""
    listed = yaml.safe_load((ROOT / "docker" / "metrics.yaml").read_text())["ts_metrics"]
    return {each["name"]: set(each["dimensions"]) for kind in listed.values() for each in kind}


def _counted_on_occasion() -> dict[str, set[str]]:
    """The gateway's counters of what may never happen: they have no sample before."""
    families = Metrics().registry._collector_to_names
    return {name: set(getattr(family, "_labelnames", ())) for family in families for name in families[family]}


def _of_the_edge() -> dict[str, set[str]]:
    """Read what the edge writes in its program: this stack runs none."""
    found: dict[str, set[str]] = defaultdict(set)
    program = (ROOT / "edge" / "native" / "metrics.h").read_text()
    for name in re.findall(r"marina_edge_\w+", program):
        found[name] |= {"model", "version"} if name == "marina_edge_info" else {"model", "route", "status"}
    return found
