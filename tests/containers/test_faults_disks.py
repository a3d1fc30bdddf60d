"""Each volume full, and a worker over the memory limit, under load: what cannot be written says so, nothing is lost."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from docker.errors import APIError

from tests.containers import disturbances
from tests.containers.conftest import MODELS, Projects
from tests.containers.disturbances import first_pid, wait_until_restarted
from tests.containers.fault_trial import NOTHING, OF_ENGINE, Fault, endure
from tests.containers.project import Project, running
from tests.containers.summary import Summary
from tests.containers.waiting import wait_until_well
from tests.polling import wait_for
from tests.small_disk import SmallDisk, small_disk

# Kilobytes of each folder that a part writes to.
SIZES = {"docker/data/delivery": 24 * 1024, "docker/data/torchserve": 512, "model_mars": 16 * 1024}
LIMITS = {"MARINA_TS_TMP": "512m", "MARINA_TS_MEMORY": "2g"}
LIMIT, ROOM = 2 * 2**30, 32 * 2**20
FILL = "/tmp/filling"
PIECES = 64  # of 16 MB: more than there is room for
IS_FULL = 1  # the exit status of head on a full disk; a program that the kernel kills has another one
NEW = "served_model.request_params.max_batch_delay"


@pytest.fixture(scope="module")
def small(projects: Projects, archives: Path) -> Iterator[tuple[Project, dict[str, SmallDisk]]]:
    """A stack whose folders are small file systems, with little memory for TorchServe."""
    made = projects("disks")
    project = replace(made, env=made.env | LIMITS)
    project.make("compose_secrets")
    with contextlib.ExitStack() as mounts:
        disks = {name: mounts.enter_context(small_disk(project.folder / name, size)) for name, size in SIZES.items()}
        with running(project, archives, MODELS) as started:
            yield started, disks


@contextlib.contextmanager
def full(disk: SmallDisk) -> Iterator[None]:
    disk.fill()
    try:
        yield
    finally:
        disk.free()


def upload(project: Project, delay_ms: int, status: int = 0) -> str:
    return project.make("compose_upload", status, MODEL="cartpole", ARGS=f"{NEW}={delay_ms}")


def torchserve_killed(project: Project) -> None:
    before = first_pid(project, "torchserve")
    disturbances.kill(project, "torchserve")
    wait_until_restarted(project, "torchserve", before)


def test_a_full_disk_of_deliverys_state_refuses_rollouts_and_models_still_come_back(
    small: tuple[Project, dict[str, SmallDisk]], summary: Summary
) -> None:
    project, disks = small

    def happen(project: Project) -> None:
        with full(disks["docker/data/delivery"]):
            printed = upload(project, 3, status=2)
            assert "/srv/marina/.marina" in printed
            assert "No space left" in printed
            assert "Traceback" not in printed
            torchserve_killed(project)
            wait_until_well(project)

    endure(project, Fault("delivery's state full, TorchServe killed", happen, OF_ENGINE), summary)
    assert "serves now" in upload(project, 3)


def test_a_full_disk_of_torchserves_keys_is_said_and_ends_with_the_room(
    small: tuple[Project, dict[str, SmallDisk]], summary: Summary
) -> None:
    project, disks = small

    def happen(project: Project) -> None:
        with full(disks["docker/data/torchserve"]):
            disturbances.kill(project, "torchserve")
            wait_for(lambda: "No space left" in project.container("torchserve").logs().decode(errors="replace"))

    endure(project, Fault("TorchServe's keys full, TorchServe killed", happen, OF_ENGINE), summary)


def test_a_full_archive_folder_refuses_uploads(small: tuple[Project, dict[str, SmallDisk]], summary: Summary) -> None:
    project, disks = small

    def happen(project: Project) -> None:
        with full(disks["model_mars"]):
            assert "No space left" in upload(project, 7, status=2)

    endure(project, Fault("archives full, an upload", happen, NOTHING), summary)
    assert "serves now" in upload(project, 7)


def test_a_full_folder_of_unpacked_archives_refuses_uploads(
    small: tuple[Project, dict[str, SmallDisk]], summary: Summary
) -> None:
    project, _ = small

    def happen(project: Project) -> None:
        with filled(project, lambda: False):
            printed = upload(project, 4, status=2)
            assert "too little room: /tmp has 0 of" in printed
            assert "MARINA_TS_TMP" in printed

    endure(project, Fault("TorchServe's temporary files full, an upload", happen, NOTHING), summary)
    assert "serves now" in upload(project, 4)


@contextlib.contextmanager
def filled(project: Project, enough: Callable[[], bool]) -> Iterator[None]:
    """Write to TorchServe's temporary folder, which is memory, until it is full or it is enough."""
    try:
        for _ in range(PIECES):
            code, _ = project.container("torchserve").exec_run(["sh", "-c", f"head -c 16M /dev/zero >>{FILL}"])
            if enough() or code == IS_FULL:
                break
        yield
    finally:
        project.container("torchserve").exec_run(["rm", "-f", FILL])


def test_a_process_of_torchserve_that_is_killed_for_memory_is_replaced(
    small: tuple[Project, dict[str, SmallDisk]], summary: Summary
) -> None:
    project, _ = small

    def happen(project: Project) -> None:
        container = project.container("torchserve")
        figures = container.stats(stream=False)
        assert isinstance(figures, dict)
        used = int(figures["memory_stats"]["usage"])
        before = processes(project)

        def killed() -> bool:
            return not before <= processes(project)

        # The kernel kills the largest process, which is a worker or Java.
        container.update(mem_limit=used + ROOM, memswap_limit=-1)
        try:
            with filled(project, killed):
                assert killed()
        finally:
            wait_for(lambda: given_back(project))

    endure(project, Fault("TorchServe over its memory limit", happen, OF_ENGINE), summary)


def given_back(project: Project) -> bool:
    """Give TorchServe its memory again; Docker cannot do so in the moment in which it starts the container again."""
    try:
        project.container("torchserve").update(mem_limit=LIMIT, memswap_limit=LIMIT)
    except APIError:
        return False
    return True


def processes(project: Project) -> set[str]:
    """Return the host's ids of Java and of the workers in TorchServe's container."""
    container = project.container("torchserve")
    container.reload()
    if container.status != "running":
        return set()
    table = container.top(ps_args="-eo pid,args")
    return {
        pid for pid, command in table["Processes"] or () if "model_service_worker" in command or "/java " in command
    }
