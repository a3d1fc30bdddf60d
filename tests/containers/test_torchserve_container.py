"""TorchServe's container by itself: how it ends, and what it says when memory, a disk or an address is lost."""

import base64
import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from docker.models.containers import Container
from docker.models.networks import Network
from docker.types import IPAMConfig, IPAMPool

from bench.local_stack import free_ports
from engines.torchserve.room import RoomReport
from tests.containers.project import engine
from tests.engines.process.local_torchserve import archive
from tests.polling import wait_for

USER = 4321  # any user id will do
KEYS = "/var/lib/torchserve"
LIMIT_MIB = 1500
SENT = 20
ALIAS = "torchserve-engine"
NOTHING = RoomReport("", 2**40, 2**40)
PORTS = (8080, 8081, 8082)
ADDRESSES = {
    "TS_INFERENCE_ADDRESS": "http://0.0.0.0:8080",
    "TS_MANAGEMENT_ADDRESS": "http://0.0.0.0:8081",
    "TS_METRICS_ADDRESS": "http://0.0.0.0:8082",
}


@dataclass(frozen=True)
class TorchServeContainer:
    """A container, the host's folder of its keys, and the host's ports by those inside."""

    container: Container
    keys: Path
    ports: dict[int, int]

    @property
    def log(self) -> str:
        return self.container.logs(stream=False).decode(errors="replace")

    @property
    def status(self) -> str:
        self.container.reload()
        return str(self.container.status)

    @property
    def health(self) -> str:
        self.container.reload()
        return str(self.container.attrs["State"]["Health"]["Status"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the lines of one event in the log."""
        found = [json.loads(line) for line in self.log.splitlines() if line.startswith("{")]
        return [line for line in found if line["event"] == name]

    def url(self, port: int, path: str) -> str:
        return f"http://127.0.0.1:{self.ports[port]}{path}"

    def key(self, interface: str) -> dict[str, str]:
        keys = json.loads((self.keys / "key_file.json").read_text())
        return {"Authorization": f"Bearer {keys[interface]['key']}"}

    def metrics(self) -> str:
        return requests.get(self.url(8082, "/metrics"), timeout=10).text

    def execute(self, code: str) -> None:
        """Run a line of Python inside."""
        status, output = self.container.exec_run(["python", "-c", code])
        assert status == 0, output

    def signal_java(self, name: str) -> None:
        """Send a signal to Java alone."""
        self.execute(
            "import os, psutil, signal;"
            f"[os.kill(each.pid, signal.{name}) for each in psutil.process_iter() if each.name() == 'java']"
        )

    def register(self, folder: Path, workers: int) -> None:
        """Register the slow handler."""
        archive(folder / "slow.mar", "slow")
        content = base64.b64encode((folder / "slow.mar").read_bytes()).decode()
        self.execute(f"import base64; open('/tmp/model_store/slow.mar', 'wb').write(base64.b64decode('{content}'))")
        query: dict[str, str | int] = {"url": "slow.mar", "initial_workers": workers, "synchronous": "true"}
        answer = requests.post(self.url(8081, "/models"), params=query, headers=self.key("management"), timeout=120)
        assert answer.status_code == 200, answer.text


@contextlib.contextmanager
def torchserve(image: str, keys: Path, network: Network | None = None, **options: Any) -> Iterator[TorchServeContainer]:
    """Start the image as Compose does, with an alias in `network`, and remove the container at the end."""
    keys.mkdir(exist_ok=True)
    os.chown(keys, USER, USER)
    environment = {**ADDRESSES, "TS_DISABLE_SYSTEM_METRICS": "false", **options.pop("environment", {})}
    ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
    container = engine().containers.create(
        image,
        user=f"{USER}:{USER}",
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        tmpfs={"/tmp": "exec,mode=1777,size=200m"},
        volumes={str(keys): {"bind": KEYS, "mode": "rw"}},
        mem_limit=f"{LIMIT_MIB}m",
        memswap_limit=f"{LIMIT_MIB}m",
        ports={f"{inside}/tcp": ("127.0.0.1", outside) for inside, outside in ports.items()},
        environment=environment,
        **options,
    )
    try:
        if network is not None:
            engine().networks.get("bridge").disconnect(container)
            network.connect(container, aliases=[ALIAS], ipv4_address="172.31.217.5")
        container.start()
        yield TorchServeContainer(container, keys, ports)
    finally:
        container.remove(force=True, v=True)


@pytest.fixture
def served(images: dict[str, str], tmp_path: Path) -> Iterator[TorchServeContainer]:
    with torchserve(images["TORCHSERVE_IMAGE"], tmp_path / "keys", init=True) as made:
        wait_for(lambda: "Model server started" in made.log or made.status == "exited")
        yield made


def test_stop_under_load_answers_everything_that_was_accepted(served: TorchServeContainer, tmp_path: Path) -> None:
    served.register(tmp_path, workers=2)
    url, key = served.url(8080, "/predictions/slow"), served.key("inference")

    def ask(seconds: str) -> int:
        return requests.post(url, data=seconds, headers=key, timeout=60).status_code

    def accepted() -> float:
        samples = served.metrics().splitlines()
        return sum(float(line.split()[-1]) for line in samples if line.startswith("ts_inference_requests_total{"))

    with ThreadPoolExecutor(SENT) as clients:
        answers = [clients.submit(ask, "0.5") for _ in range(SENT)]
        wait_for(lambda: accepted() == SENT)
        served.container.stop(timeout=40)
        assert [answer.result() for answer in answers] == [200] * SENT
    assert served.container.wait()["StatusCode"] == 0
    [drained] = served.events("drained")
    assert drained["complete"] is True
    assert not (served.keys / "key_file.json").exists()


def test_java_is_killed_the_exit_status_tells(served: TorchServeContainer) -> None:
    served.signal_java("SIGKILL")
    assert served.container.wait()["StatusCode"] == 137


def test_java_hangs_and_the_container_is_not_healthy(served: TorchServeContainer) -> None:
    wait_for(lambda: served.health == "healthy")
    served.signal_java("SIGSTOP")
    wait_for(lambda: served.health == "unhealthy")
    check = engine().images.get(served.container.attrs["Image"]).attrs["Config"]["Healthcheck"]
    assert (check["Interval"] + check["Timeout"]) * check["Retries"] == 45e9  # ns; the Dockerfile promises 45 seconds
    assert "TorchServe did not answer GET /ping" in str(served.container.attrs["State"]["Health"]["Log"])


def test_worker_over_the_memory_limit_is_named_and_counted(served: TorchServeContainer, tmp_path: Path) -> None:
    served.register(tmp_path, workers=1)
    wait_for(lambda: 'MemoryUtilization{Level="Container"' in served.metrics())
    answer = requests.post(
        served.url(8080, "/predictions/slow"),
        data=f"eat {2 * LIMIT_MIB * 2**20}",
        headers=served.key("inference"),
        timeout=60,
    )
    assert answer.status_code >= 500
    wait_for(lambda: served.events("killed_for_memory") != [])
    [killed] = served.events("killed_for_memory")
    assert killed["limit_mib"] == LIMIT_MIB
    assert "MARINA_TS_MEMORY" in killed["setting"]
    [worker] = killed["workers"]
    assert worker.endswith(" of slow 1.0")
    wait_for(lambda: 'OutOfMemoryKills{Level="Container"' in served.metrics() and _kills(served) == killed["processes"])
    assert served.status == "running"


def _kills(served: TorchServeContainer) -> float:
    [line] = [line for line in served.metrics().splitlines() if line.startswith("OutOfMemoryKills{")]
    return float(line.split()[-1])


@pytest.mark.skipif(os.getuid() != 0, reason="mounts a small tmpfs")
def test_full_disk_under_the_keys_is_said_with_its_bytes(images: dict[str, str], tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", keys], check=True)
    try:
        (keys / "full").write_bytes(bytes(64 * 1024))
        with torchserve(images["TORCHSERVE_IMAGE"], keys) as made:
            assert made.container.wait(timeout=60)["StatusCode"] == 1
            said = f"not started: {KEYS}/key_file.json: No space left on device (0 bytes free, 4,096 needed)"
            assert said in made.log
    finally:
        subprocess.run(["umount", keys], check=True)


def test_too_little_room_for_an_archive_is_known_to_who_registers_it(served: TorchServeContainer) -> None:
    def report() -> RoomReport | None:
        return RoomReport.beside(served.keys / "key_file.json")

    wait_for(lambda: report() is not None)
    served.execute("open('/tmp/other', 'wb').write(bytes(150 * 2**20))")
    wait_for(lambda: "/tmp has " in str((report() or NOTHING).lacks(60 * 2**20)))
    with contextlib.suppress(AssertionError):  # the disk is full then
        served.execute("open('/tmp/another', 'wb').write(bytes(100 * 2**20))")
    wait_for(lambda: served.events("no_room_for_archives") != [])
    assert "MARINA_TS_TMP" in served.events("no_room_for_archives")[0]["setting"]


def test_address_that_changed_ends_the_container_for_its_restart(images: dict[str, str], tmp_path: Path) -> None:
    pool = IPAMConfig(pool_configs=[IPAMPool(subnet="172.31.217.0/28")])
    network = engine().networks.create(f"marina-address-{os.getpid()}", ipam=pool)
    urls = {name: f"http://{ALIAS}:{port}" for name, port in zip(ADDRESSES, PORTS, strict=True)}
    try:
        with torchserve(images["TORCHSERVE_IMAGE"], tmp_path / "keys", network, environment=urls) as made:
            wait_for(lambda: "Model server started" in made.log)
            network.disconnect(made.container)
            time.sleep(3)  # a network that is away is waited for
            assert made.status == "running"
            network.connect(made.container, aliases=[ALIAS], ipv4_address="172.31.217.9")
            assert made.container.wait(timeout=60)["StatusCode"] == 1
            [lost] = made.events("address_lost")
            assert f"{ALIAS} was 172.31.217.5 and is 172.31.217.9" in lost["reason"]
    finally:
        network.remove()
