"""The end of TorchServe comes in time, whatever happens while its requests are answered."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest

from engines.engine_profile import PredictionResponse
from engines.torchserve.api import model_version
from engines.torchserve.drain import Probe, wait_until_drained
from engines.torchserve.process import __main__ as first_process

DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(300)"


def fails(*_: object) -> None:
    raise ValueError("an answer that nobody has foreseen")


def hangs(*_: object) -> None:
    threading.Event().wait()


@pytest.mark.parametrize("drain", [fails, hangs])
def test_java_that_hangs_is_killed_even_when_the_drain_fails_or_hangs(
    drain: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_process, "drain", drain)
    monkeypatch.setattr(first_process, "JAVA_S", 0.1)
    monkeypatch.setattr(first_process, "MARGIN_S", 0.1)
    for name in ("INFERENCE", "MANAGEMENT"):
        monkeypatch.setenv(f"TS_{name}_ADDRESS", "http://127.0.0.1:1")
    first = first_process.FirstProcess((), drain_s=0.1)
    with subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE) as java:
        assert java.stdout is not None
        assert java.stdout.readline() == b"ready\n"
        first._java = java.pid
        first._end_in_order()
        assert java.wait(30) == -signal.SIGKILL


def test_long_batch_delay_of_a_handler_that_names_no_worker_does_not_outlast_the_deadline() -> None:
    hour = 3_600_000
    entry = {"modelName": "toy", "modelVersion": "1.0", "workers": [{"status": "READY", "pid": os.getpid()}]}
    version = model_version({**entry, "maxBatchDelay": hour, "batchSize": 2})
    assert version.max_batch_delay == hour
    unnamed = Probe(version, lambda: version, lambda _: PredictionResponse(200, b"", None))
    assert wait_until_drained(unnamed, timeout_s=0.3)
