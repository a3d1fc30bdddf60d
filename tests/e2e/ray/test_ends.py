"""How a cluster of our own ends: asked by `make down` with all of its nodes, or killed, and then nothing says ready."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from settings.load import ROOT
from tests.e2e.conftest import Stack, left_running, new_stack
from tests.e2e.ray.bare import Engine
from tests.e2e.ray.nodes import wait_until
from tests.engines.python.archives import pack

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
HOST = "127.0.0.2"  # of the head: Ray joins none at 127.0.0.1
OF_A_HEAD = {"head", "gcs_server", "raylet", "manager"}
PLAIN = "import os\n\n\ndef handle(data, context):\n    return data and [str(os.getpid())] * len(data)\n"


@pytest.fixture
def words(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "mars").mkdir()
    return ("engine=ray", "store=local", f"store.folder={tmp_path / 'mars'}")


@pytest.fixture
def stack(tmp_path: Path, words: tuple[str, ...]) -> Iterator[Stack]:
    made = new_stack(tmp_path / "state", tmp_path / "mars")
    try:
        yield made
    finally:
        made.run("-m", "stack", "down", *words)
    assert left_running(made) == []


def states(stack: Stack, words: tuple[str, ...]) -> dict[str, str]:
    """What `make status` says of each part."""
    command = [sys.executable, "-m", "stack", "status", *words]
    done = subprocess.run(command, cwd=ROOT, env=stack.env, capture_output=True, text=True, check=False, timeout=60)
    return {line.split()[0]: line.split()[1] for line in done.stdout.splitlines()}


def parts_of_ray(stack: Stack) -> dict[str, psutil.Process]:
    """The processes of the stack by their programs' names."""
    found = {}
    for process in left_running(stack):
        line = process.cmdline()
        name = "head" if "engines.ray.head" in line else "manager" if "engines.ray" in line else Path(line[0]).name
        found[name] = process
    return found


@pytest.mark.parametrize("part", ["head", "gcs_server", "raylet"])
def test_a_head_of_which_a_part_is_killed_is_down_leaves_nothing_and_comes_back_whole(
    stack: Stack, words: tuple[str, ...], part: str
) -> None:
    stack.run("-m", "stack", "up", *words)
    for process in left_running(stack):
        if "keep" in process.cmdline():
            process.kill()  # the keeper would start the head again within a second
    found = parts_of_ray(stack)
    assert set(found) >= OF_A_HEAD
    assert not {name for name in found if "Dashboard" in name or "client" in name}
    found[part].kill()
    wait_until(lambda: states(stack, words)["ray"] == "down", "the head is down")
    wait_until(lambda: states(stack, words)["rayserve"] == "down", "so is the manager")
    wait_until(lambda: not any(each in OF_A_HEAD or "ray::" in each for each in parts_of_ray(stack)), "nothing is left")
    said = stack.run("-m", "stack", "up", *words)
    assert "ray is ready" in said
    assert "rayserve is ready" in said
    assert set(states(stack, words).values()) == {"ready"}


def commands(page: str) -> str:
    """What the page says that a node is joined with."""
    blocks = (ROOT / "docs" / page).read_text().split("```")
    [found] = [block for block in blocks if "ray start --address" in block]
    return found


def test_a_node_joins_by_the_pages_commands_and_down_ends_it_and_its_workers(
    stack: Stack, words: tuple[str, ...], tmp_path: Path
) -> None:
    words = (*words, f"engine.host={HOST}", "engine.cpus=0")
    stack.run("-m", "stack", "up", *words)
    address = f"{HOST}:{stack.env['MARINA_RAY_PORT']}"
    typed = commands("ray.md").replace("10.0.0.1:6379", f"{address} --node-ip-address={HOST} --num-cpus=2")
    typed = typed.replace("/srv/marina/cluster_token", str(stack.state / "ray" / "cluster_token"))
    typed = typed.replace("/srv/marina/.venv", str(ROOT / ".venv")).replace("/srv/marina", str(ROOT))
    subprocess.run(["bash", "-ec", typed], env=stack.env, check=True, capture_output=True, timeout=120)
    node = [each for each in psutil.process_iter() if f"--gcs-address={address}" in _line(each)]
    node += [child for process in node for child in process.children(recursive=True)]
    (tmp_path / "plain.py").write_text(PLAIN)
    engine = Engine(stack, HOST)
    answer = engine.register(pack(tmp_path / "mars", "plain", tmp_path / "plain.py"))
    assert answer.status_code == 200, answer.text
    worker = psutil.Process(int(engine.ask("plain", b"1").text))
    assert worker.ppid() in {process.pid for process in node}
    stack.run("-m", "stack", "down", *words)
    _, alive = psutil.wait_procs([worker, *[each for each in node if "raylet" in _line(each)]], timeout=10)
    assert alive == []


def _line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
