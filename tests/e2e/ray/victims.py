"""The processes of a stack with engine=ray by what they do, so that a test can kill one and wait for its successor."""

import contextlib

import psutil

from tests.e2e.conftest import Stack, left_running

TITLES = {
    "controller": "ray::ServeController",
    "front": "ray::ServeReplica:marina:Front",
    "proxy": "ray::ProxyActor",
    "worker": ":Worker",
}


def found(stack: Stack, part: str) -> list[psutil.Process]:
    """The processes of a part; the Manager is called `manager`, and has no title of Ray's."""
    return [process for process in left_running(stack) if _is(process, part)]


def pids(stack: Stack, part: str) -> set[int]:
    return {process.pid for process in found(stack, part)}


def kill(stack: Stack, part: str) -> set[int]:
    """With -9, one and all; returns who they were."""
    killed = found(stack, part)
    assert killed, f"no {part} runs"
    for process in killed:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(killed, timeout=30)
    return {process.pid for process in killed}


def _is(process: psutil.Process, part: str) -> bool:
    with contextlib.suppress(psutil.Error):
        words = " ".join(process.cmdline())
        if part == "manager":
            return "engines.ray" in process.cmdline()
        return words.startswith("ray::") and TITLES[part] in words
    return False
