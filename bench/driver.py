"""Measurements with the load generator: one job, or several sides that take turns."""

import base64
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

from bench.load_generator import Job, Result
from bench.server_process import MeasurementError
from settings.load import ROOT

Side = TypeVar("Side")


def run(job: Job) -> Result:
    """Run one job in a process of its own."""
    return finish(start(job))


def start(job: Job) -> "subprocess.Popen[str]":
    """Start a job without waiting for its end."""
    command = [sys.executable, "-m", "bench.load_generator"]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: "subprocess.Popen[str]") -> Result:
    """Return the result of a started job. Raises MeasurementError."""
    printed, _ = process.communicate()
    if process.returncode:
        raise MeasurementError(f"the load generator ended with status {process.returncode}")
    return Result(**json.loads(printed))


def checked(result: Result, *tolerated: str) -> Result:
    """Return the result if there are answers and all of them are right. Raises MeasurementError.

    Answers with a `tolerated` status do not count: a gateway on a busy machine refuses what it cannot answer in time.
    """
    if result.failed > sum(result.statuses.get(each, 0) for each in tolerated) or not result.good:
        raise MeasurementError(f"under load: statuses {result.statuses}, wrong {result.wrong}")
    return result


def rate(job: Job, *tolerated: str) -> float:
    """Return right answers a second. Raises MeasurementError for an answer that is not right."""
    return checked(run(job), *tolerated).rate


def warmed(job: Job) -> Callable[[], float]:
    """Run a job for a second, and return a function that measures its rate. Raises MeasurementError."""
    rate(replace(job, seconds=1))
    return lambda: rate(job)


def small_rate(job: Job) -> float:
    """Return answers a second of a closed loop of small requests, by wrk where it is installed: it costs least.

    wrk judges statuses only. Raises MeasurementError.
    """
    if shutil.which("wrk") is None:
        return rate(job)
    wanted = ",".join(_lua_string(base64.b64decode(each).decode()) for each in job.requests)
    script = f"local r = {{{wanted}}}\nlocal n = 0\n{_LUA}"
    return wrk(script, f"http://{job.host}:{job.port}/", job.clients, job.seconds)[0]


def wrk(script: str, url: str, clients: int, seconds: float, prefix: Sequence[str] = ()) -> tuple[float, int]:
    """Run wrk with a Lua script; return requests a second and their number. Raises MeasurementError for an error."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.lua"
        path.write_text(script)
        options = ("-t1", f"-c{clients}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", str(path))
        command = [*prefix, "wrk", *options, url]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found, count = re.search(r"Requests/sec:\s*([\d.]+)", printed), re.search(r"(\d+) requests in", printed)
    if found is None or count is None or "Non-2xx" in printed or "Socket errors" in printed:
        raise MeasurementError(f"{url}: {printed}")
    return float(found[1]), int(count[1])


_LUA = "request = function() n = n + 1; return r[n % #r + 1] end\n"


def _lua_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n") + '"'


def turned(sides: Sequence[Side], number: int) -> list[Side]:
    """Return all sides in the order of round `number`, counted from 0: every round begins with another one.

    A disturbance of the machine then affects all sides alike.
    """
    at = number % len(sides) if sides else 0
    return [*sides[at:], *sides[:at]]


def take_turns(
    sides: Mapping[str, Callable[[], float]], rounds: int, log: logging.Logger | None = None, *, warm: int = 0
) -> dict[str, list[float]]:
    """Measure each side once a round, after `warm` rounds that do not count; return each side's figures."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + warm):
        for name in turned(list(sides), number):
            value = sides[name]()
            if number >= warm:
                found[name].append(value)
            if log is not None:
                log.info("round %d, %s: %.4g", number + 1, name, value)
    return found
