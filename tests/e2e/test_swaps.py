"""Swaps in a row under load: no request is lost, and none is answered by a version that is not live."""

import asyncio

import pytest

from bench.swaps import measure
from tests.e2e.conftest import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def test_twenty_swaps_under_32_clients_lose_nothing(stack: Stack) -> None:
    measured = asyncio.run(measure(stack.gateway, 20, stack.env, ["rollout.watch_s=1"]))
    assert len(measured.swaps) == 20
    assert len(measured.answers) >= 20_000
    assert measured.failed() == []
    assert measured.strangers() == []
    for model in ("digits", "cartpole"):
        stack.run("upload_model.py", f"served_model={model}")
