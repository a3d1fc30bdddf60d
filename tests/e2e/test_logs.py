"""What a running stack writes: JSON, nothing for a request that went well, and the names that Alloy looks for."""

import json
import re
from typing import Any

import psutil
import pytest
import requests

from settings.load import ROOT
from stack.tail import format_line
from tests.e2e.conftest import ENGINE, Stack
from tests.polling import wait_for

pytestmark = pytest.mark.e2e
# What an engine prints beside its log, and cannot be kept from.
BESIDE_ITS_LOG = {
    "torchserve": (
        "Warning: TorchServe is using non-default JVM parameters",
        "WARNING: sun.reflect.Reflection.getCallerClass is not supported",
        "nvidia-smi not available or failed",
        "Model server started.",
    ),
    "ray": (),
}[ENGINE.part]
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}


def log(stack: Stack, part: str) -> str:
    return (stack.state / "logs" / f"{part}.log").read_text()


def json_lines(stack: Stack, part: str) -> list[dict[str, Any]]:
    """A part's log, every line of it JSON."""
    return [json.loads(line) for line in log(stack, part).splitlines() if not line.startswith(BESIDE_ITS_LOG)]


def ask(stack: Stack, body: Any, request_id: str) -> int:
    headers = {"X-Request-Id": request_id}
    return requests.post(f"{stack.gateway}/predict", json=body, headers=headers, timeout=60).status_code


def test_a_request_that_went_well_is_in_no_log(stack: Stack) -> None:
    assert ask(stack, STATE, "before") == 200
    before = {part: len(log(stack, part)) for part in (ENGINE.part, "gateway", "filebrowser")}
    assert [ask(stack, STATE | {"cart_position": n / 1000}, f"well-{n}") for n in range(32)] == [200] * 32
    # The refused one comes after them, in each log; what they had written would stand before it.
    assert ask(stack, {**STATE, "pole_angle": "steep"}, "refused") == 422
    wait_for(lambda: '"refused"' in log(stack, ENGINE.part)[before[ENGINE.part] :])
    for part, length in before.items():
        written = [json.loads(line) for line in log(stack, part)[length:].splitlines()]
        assert [line for line in written if line.get("request_id") != "refused" and line["level"] == "info"] == []
        assert not any(str(line.get("request_id", "")).startswith("well") for line in written)


def test_every_line_is_json_under_the_names_that_alloy_looks_for(stack: Stack) -> None:
    assert ask(stack, {**STATE, "pole_angle": "steep"}, "refused") == 422
    wait_for(lambda: '"refused"' in log(stack, ENGINE.part))
    files = [*(stack.state / "logs").glob("*.log"), *stack.state.glob("*/access.log")]
    assert {file.stem for file in files} >= {ENGINE.part, "gateway", "filebrowser", "access"}
    names: set[str] = set()
    for file in files:
        for line in (line for line in file.read_text().splitlines() if not line.startswith(BESIDE_ITS_LOG)):
            found = json.loads(line)
            assert {"time", "level", "event"} <= set(found), (file.name, line)
            names |= set(found)
            assert format_line(line, file.stem).split()[1] == found["level"].upper()
    config = (ROOT / "docker" / "alloy" / "config.alloy").read_text()
    [looked_for] = re.findall(r"expressions = \{(level[^}]*)\}", config)
    # Traces are switched off here; test_traces holds the name of their id.
    assert set(re.findall(r"(\w+) =", looked_for)) - {"trace_id"} <= names


def test_the_logs_of_all_parts_can_be_followed(stack: Stack) -> None:
    following = stack.start("-m", "stack", "logs")
    assert following.stdout is not None
    try:
        parts: set[str] = set()
        while not parts >= {ENGINE.part, "gateway", "filebrowser"}:
            parts |= set(re.findall(r"^\S+ +\w+ +(\w+) ", following.stdout.readline()))
    finally:
        # Its `tail` has the same output, which ends when both have gone.
        for process in [*psutil.Process(following.pid).children(), psutil.Process(following.pid)]:
            process.terminate()
        following.wait(timeout=30)
        following.stdout.close()
