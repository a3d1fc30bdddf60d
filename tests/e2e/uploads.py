"""Rollouts as tests want them: quick, or killed at a given step."""

import signal
import subprocess
import sys

import engines
from engines.engine_profile import ModelVersion
from settings import Settings
from settings.load import ROOT
from tests.e2e.conftest import Stack

QUICK = ("rollout.watch_s=0.5", "rollout.warm_requests=1")
DELAY = "served_model.request_params.max_batch_delay"

# Runs an upload that dies as a power cut would: just before or just after the journal names a step.
KILLED = """
import os, signal, sys
from delivery.journal import Journal
import upload_model
write, (when, step, *overrides) = Journal.write, sys.argv[1:]

def write_and_die(journal, entry):
    if when == "before" and entry.step == step:
        os.kill(os.getpid(), signal.SIGKILL)
    write(journal, entry)
    if when == "after" and entry.step == step:
        os.kill(os.getpid(), signal.SIGKILL)

Journal.write = write_and_die
sys.exit(upload_model.main(overrides))
"""


def registered(settings: Settings, model: str = "cartpole") -> list[ModelVersion]:
    """All versions of a model."""
    with engines.connect(settings) as engine:
        return engine.versions(model)


def kill_upload(stack: Stack, when: str, step: str, *overrides: str) -> None:
    """Roll cartpole out and be killed `before` or `after` the journal names `step`."""
    command = [sys.executable, "-c", KILLED, when, step, "served_model=cartpole", *QUICK, *overrides]
    env = stack.env | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == -signal.SIGKILL, done.stderr
