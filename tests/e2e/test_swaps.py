"""Swaps in a row under load: no request is lost, and none is answered by a version that is not live."""

import asyncio
import shutil
from pathlib import Path

import pytest

from bench.engine_nodes import PowerCuts, two_nodes
from bench.swaps import MODELS, measure
from tests.e2e.conftest import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_twenty_swaps_under_32_clients_lose_nothing(stack: Stack) -> None:
    measured = asyncio.run(measure(stack.gateway, 20, stack.env, ["rollout.watch_s=1"]))
    assert len(measured.swaps) == 20
    assert len(measured.answers) >= 20_000
    assert measured.failed() == []
    assert measured.misrouted() == []
    for model in ("digits", "cartpole"):
        stack.run("upload_model.py", f"served_model={model}")


def test_twenty_swaps_on_two_nodes_lose_nothing_while_one_is_killed_and_comes_back(
    archives: Path, tmp_path: Path
) -> None:
    built = tmp_path / "built"
    built.mkdir()
    for model in MODELS:
        shutil.copy(archives / f"{model}.mar", built)
    with two_nodes(tmp_path, built, MODELS) as nodes:
        cuts = PowerCuts(nodes)
        measured = asyncio.run(measure(nodes.gateway, 20, nodes.env, ["rollout.watch_s=1"], cuts.run))
    assert len(measured.swaps) == 20
    assert len(measured.answers) >= 20_000
    assert measured.failed() == []
    assert measured.misrouted() == []
    assert cuts.kills >= 2
    assert cuts.returns == cuts.kills
