"""Until all is well: every part healthy, the gateway ready, every model answering."""

import time
from collections.abc import Sequence

import requests

from tests.containers.load import samples
from tests.containers.project import Project

LONGEST_S = 180.0


def troubles(project: Project, models: Sequence[str] = ("digits", "cartpole")) -> list[str]:
    """What is not well now, each in a few words; nothing when all is."""
    return [*_containers(project), *_gateway(project, models)]


def wait_until_well(
    project: Project, models: Sequence[str] = ("digits", "cartpole"), seconds: float = LONGEST_S
) -> float:
    """Return how many seconds it took until nothing was wrong; the failure says what still is."""
    began = time.monotonic()
    while found := troubles(project, models):
        assert time.monotonic() - began < seconds, f"not well within {seconds:g} s: {found}\n{project.logs(40)}"
        time.sleep(0.1)
    return time.monotonic() - began


def _containers(project: Project) -> list[str]:
    found = []
    for each in project.containers():
        service, state = each.labels["com.docker.compose.service"], each.attrs["State"]
        if each.attrs["HostConfig"]["RestartPolicy"]["Name"] == "no":  # it runs once
            wanted, seen = "exited 0", f"{state['Status']} {state['ExitCode']}"
        else:
            wanted, seen = "running healthy", f"{state['Status']} {state.get('Health', {}).get('Status', 'healthy')}"
        found += [] if seen == wanted else [f"{service} is {seen}"]
    return found


def _gateway(project: Project, models: Sequence[str]) -> list[str]:
    try:
        answer = project.get("/readyz")
        if answer.status_code != 200:
            return [f"/readyz: {answer.status_code} {answer.text}"]
        return [word for model in models for word in _prediction(project, model)]
    except requests.RequestException as error:
        return [type(error).__name__]


def _prediction(project: Project, model: str) -> list[str]:
    sample = samples([model])[0]
    headers = {**project.headers, "Content-Type": sample.content_type}
    address = f"{project.gateway}/models/{model}/predict"
    answer = requests.post(address, data=sample.body, headers=headers, timeout=10)
    return [] if answer.status_code == 200 else [f"{model}: {answer.status_code} {answer.text}"]
