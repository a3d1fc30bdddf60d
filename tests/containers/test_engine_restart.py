"""The engine of this machine restarted under load.

It ends every container, those of others too, so it must be asked for:

    MARINA_TEST_ENGINE_RESTART=1 make test_containers ARGS="-k restart_of_the_engine"
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker.errors
import psutil
import pytest
import requests

from tests.containers.conftest import MODELS, Projects
from tests.containers.fault_trial import OF_ALL, Fault, endure
from tests.containers.project import Project, engine, running
from tests.containers.summary import Summary
from tests.polling import wait_for

ASKED = os.environ.get("MARINA_TEST_ENGINE_RESTART") == "1"
pytestmark = pytest.mark.skipif(
    not ASKED, reason="ends every container of this machine; MARINA_TEST_ENGINE_RESTART=1 runs it"
)
SECONDS = 300.0


@pytest.fixture
def stack(projects: Projects, archives: Path) -> Iterator[Project]:
    with running(projects("engine"), archives, MODELS) as project:
        yield project


def restart_engine(_: Project) -> None:
    """Restart dockerd as it was started: by systemd, or with its own command and environment."""
    if subprocess.run(["systemctl", "is-active", "--quiet", "docker"], check=False).returncode == 0:
        subprocess.run(["systemctl", "restart", "docker"], check=True)
    else:
        [running] = [each for each in psutil.process_iter() if each.name() == "dockerd"]
        command, environment = running.cmdline(), running.environ()
        running.terminate()
        psutil.wait_procs([running], timeout=SECONDS)
        subprocess.Popen(
            command,
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    wait_for(answers, SECONDS)


def answers() -> bool:
    try:
        return bool(engine().ping())
    except (docker.errors.DockerException, requests.RequestException):
        return False


# The client of Docker does not close a socket that it could not connect.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_restart_of_the_engine_brings_every_part_and_model_back(stack: Project, summary: Summary) -> None:
    endure(stack, Fault("the Docker engine restarted", restart_engine, OF_ALL), summary, SECONDS)
