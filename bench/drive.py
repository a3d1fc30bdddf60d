"""Starts the load generators and reads what they found."""

import base64
import json
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from bench.client import Job, Result
from bench.server import Failed
from settings.load import ROOT


def run(job: Job) -> Result:
    """One job in a process of its own."""
    return finish(start(job))


def start(job: Job) -> "subprocess.Popen[str]":
    """The same without waiting for its end."""
    command = [sys.executable, "-m", "bench.client"]
    process = subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(job)))
    process.stdin.close()
    process.stdin = None
    return process


def finish(process: "subprocess.Popen[str]") -> Result:
    """The result of a generator that was started."""
    printed, _ = process.communicate()
    if process.returncode:
        raise Failed(f"the load generator ended with status {process.returncode}")
    return Result(**json.loads(printed))


def rate(job: Job) -> float:
    """Right answers a second; raises Failed when one is not right, or there is none."""
    result = checked(run(job))
    return result.good / result.seconds


def checked(result: Result) -> Result:
    """The result when all of it is right; raises Failed."""
    if result.failed or not result.good:
        raise Failed(f"under load: statuses {result.statuses}, wrong {result.wrong}")
    return result


def per_second(job: Job) -> float:
    """Right answers a second of a closed loop of small requests: by wrk where it is installed, it costs least.

    wrk judges statuses only. Raises SystemExit when an answer is not 200.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        result = run(job)
        if result.failed:
            raise SystemExit(f"answers that are not right: {result.statuses}, wrong {result.wrong}")
        return result.good / result.seconds
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "requests.lua"
        wanted = [base64.b64decode(each).decode() for each in job.requests]
        script.write_text(f"local r = {{{','.join(_quoted(each) for each in wanted)}}}\nlocal n = 0\n" + _LUA)
        url = f"http://{job.host}:{job.port}/"
        command = [wrk, "-t1", f"-c{job.clients}", f"-d{max(1, round(job.seconds))}s", "--timeout", "20s"]
        printed = subprocess.run([*command, "-s", str(script), url], check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in printed or "Socket errors" in printed:
        raise SystemExit(printed)
    found = re.search(r"Requests/sec:\s*([\d.]+)", printed)
    assert found is not None
    return float(found[1])


_LUA = "request = function() n = n + 1; return r[n % #r + 1] end\n"


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\r", "\\r").replace("\n", "\\n") + '"'
