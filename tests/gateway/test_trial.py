"""A trial as clients of a running gateway see it: over every route, in one process and in several at once."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from delivery.gateway_metrics import TrialFigures
from deployments.traffic import TrafficFile, TrafficSplit
from tests.gateway.engine import FIELDS, Engine
from tests.gateway.served import figures_of, gateway_for
from tests.polling import wait_for
from tests.settings.splits import given_split

PICTURE = b"\x89PNG\r\n\x1a\n trial"
STATE = dict(zip(FIELDS, [0.0, 0.0, 0.1, 0.5], strict=True))


def follows(gateway: str, path: Path, model: str, trial: TrafficSplit) -> TrialFigures:
    """Writes the split and returns counts from the moment that the gateway has taken it."""
    TrafficFile(path).put(model, trial)
    mark = f'marina_gateway_shadow_largest_change{{model="{model}",version="{trial.trial}"}}'
    wait_for(lambda: mark in requests.get(f"{gateway}/metrics", timeout=30).text)
    counted = TrialFigures(figures_of(gateway), model)
    assert counted.look()
    return counted


def test_canary_shares_states_of_the_fast_path(engine: Engine, tmp_path: Path) -> None:
    with gateway_for(engine, f"paths.state={tmp_path}") as gateway:
        # No such version: each that is chosen falls back, and after the first none is chosen any more.
        counted = follows(gateway, tmp_path / "traffic.json", "cartpole", given_split("9.9", weight=0.9))
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(requests.post, f"{gateway}/predict", json=STATE, timeout=30) for _ in range(64)]
        assert {each.result().status_code for each in asked} == {200}
        assert counted.look()
    assert 1 <= counted.version("1.0", "live").answers[200] <= 64
    assert 1 <= counted.version("9.9", "live").answers[404] <= 64
    assert counted.fallbacks("9.9") == counted.version("9.9", "live").requests


def test_canary_shares_pictures_by_weight_and_header(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "traffic.json"

    def ask(number: int, **headers: str) -> str:
        sent = {"Content-Type": "image/png", **headers}
        body = PICTURE + str(number).encode()
        got = requests.post(f"{gateway}/models/digits/predict", data=body, headers=sent, timeout=30)
        assert got.status_code == 200, got.text
        return str(got.headers["x-model-version"])

    with gateway_for(engine, f"paths.state={tmp_path}") as gateway:
        counted = follows(gateway, path, "digits", given_split("2.0", weight=0.25))
        seen = Counter(ask(number) for number in range(80))
        assert seen["2.0"] == pytest.approx(20, abs=2)
        assert counted.look()
        assert counted.version("2.0", "live").answers == {200: seen["2.0"]}
        assert counted.version("1.0", "live").answers == {200: seen["1.0"]}
        TrafficFile(path).put("digits", given_split("2.0", weight=0.5, sticky_header="X-User"))
        wait_for(lambda: {ask(0) for _ in range(8)} == {"1.0"})  # without the header: the old version
        sides = {user: {ask(number, **{"X-User": f"user {user}"}) for number in range(3)} for user in range(12)}
        assert {len(side) for side in sides.values()} == {1}
        assert {next(iter(side)) for side in sides.values()} == {"1.0", "2.0"}
        body = {"inputs": [], "id": "x"}
        assert requests.post(f"{gateway}/v2/models/digits/infer", json=body, timeout=30).status_code == 400
        TrafficFile(path).clear("digits")
        wait_for(lambda: ask(0, **{"X-User": next(f"user {u}" for u in sides if sides[u] == {"2.0"})}) == "1.0")


def test_shadow_compares_copies_behind_one_version(engine: Engine, tmp_path: Path) -> None:
    with gateway_for(engine, f"paths.state={tmp_path}") as gateway:
        counted = follows(gateway, tmp_path / "traffic.json", "digits", given_split("2.0", weight=0.0, copies=1.0))
        for number in range(12):
            body = PICTURE + str(number).encode()
            headers = {"Content-Type": "image/png"}
            got = requests.post(f"{gateway}/models/digits/predict", data=body, headers=headers, timeout=30)
            assert (got.status_code, got.headers["x-model-version"]) == (200, "1.0")

        def all_compared() -> bool:
            assert counted.look()
            copies = counted.copies("2.0")
            return copies.compared + copies.failed + copies.dropped == 12

        wait_for(all_compared)
    assert counted.copies("2.0").compared >= 1
    assert counted.version("1.0", "live").answers == {200: 12}
    assert json.loads((tmp_path / "traffic.json").read_text())["schema_version"] == 1
