"""`python -m bench.edge [rounds=3] [seconds=5] [overrides]`: the edge beside its peers, as a Markdown table of ratios.

Needs wrk and taskset; for the Rust peer also `apt-get install cargo librust-hyper-dev librust-tokio-dev
librust-serde-json-dev`. One core for the server and one for wrk, 64 clients, rounds interleaved, medians told.
"""

import contextlib
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import requests

import settings
from archive import open_archive
from bench import edge_peers
from bench.edge_peers import Peer
from edge.build import build
from edge.network import read_policy
from edge.programs import nginx_program
from edge.site import Site
from stack.filebrowser import over

STATE = {"cart_position": -0.0446, "cart_velocity": 0.0465, "pole_angle": 0.0133, "pole_angular_velocity": -0.021}
MANY = 256
CLIENTS = 64
SCRIPT = 'wrk.method = "POST"\nwrk.body = [==[%s]==]\nwrk.headers["Content-Type"] = "application/json"\n'


@dataclass(frozen=True)
class Load:
    """A peer under one body."""

    peer: Peer
    body: str
    observations: int = 1
    generator: str = "1"


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    given = {"rounds": 3, "seconds": 5}
    overrides = []
    for argument in arguments:
        name, _, value = argument.partition("=")
        if name in given:
            given[name] = int(value)
        else:
            overrides.append(argument)
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        loads = _loads(Path(folder), overrides)
        rates: dict[str, list[float]] = {name: [] for name in loads}
        for number in range(given["rounds"]):
            for name, load in loads.items():
                with _running(load.peer, Path(folder)):
                    _check(load)
                    rates[name].append(_measure(load, Path(folder), given["seconds"]) * load.observations)
                    print(
                        f"round {number + 1}: {name} {rates[name][-1]:.0f} observations/s", file=sys.stderr, flush=True
                    )
    print(_table({name: statistics.median(found) for name, found in rates.items()}, rates))
    return 0


def _loads(folder: Path, overrides: list[str]) -> dict[str, Load]:
    port = _free_ports()
    cores = os.cpu_count() or 1
    state = ["served_model=cartpole", f"edge.port={port}", f"paths.state={folder / 'state'}", *overrides]
    loaded = settings.load(state)
    archive = Path(loaded.paths.archives) / "cartpole.mar"
    policy, built = read_policy(archive), build(archive, loaded)
    weights = edge_peers.weights_file(policy, folder)
    one = json.dumps(STATE)
    many = json.dumps({"instances": [list(STATE.values())] * MANY})
    peers = {}
    for workers in (1, 2):
        named = loaded.model_copy(
            update={"edge": loaded.edge.model_copy(update={"workers": workers, "port": port + workers})}
        )
        site = Site(folder / f"edge{workers}")
        site.write(built, named)
        peers[workers] = Peer(
            f"edge, {workers} workers", over(nginx_program(), site.folder), f"{named.edge.url}/predict"
        )
    general = replace(peers[1], url=peers[1].url.removesuffix("/predict") + "/models/cartpole/predict")
    third = f"{cores - max(1, cores // 3)}-{cores - 1}"
    servers = f"0-{max(0, cores - max(1, cores // 3) - 1)}"
    loads = {
        "nginx, constant": Load(edge_peers.constant(port + 3, folder), one),
        "edge": Load(peers[1], one),
        "TorchServe, stock": Load(
            edge_peers.torchserve(port + 10, archive, open_archive(archive).model_name, folder), one
        ),
        "FastAPI + PyTorch": Load(edge_peers.fastapi(port + 4, weights), one),
        "edge, 256 in one": Load(general, many, MANY),
        "edge, one worker, load on a third": Load(replace(peers[1], cores=servers), one, generator=third),
        "edge, two workers, load on a third": Load(replace(peers[2], cores=servers), one, generator=third),
    }
    if (hyper := edge_peers.rust(port + 5, weights, folder)) is not None:
        loads["Rust hyper"] = Load(hyper, one)
    return loads


@contextlib.contextmanager
def _running(peer: Peer, folder: Path) -> Iterator[None]:
    command = ["taskset", "-c", peer.cores, *peer.command]
    environment = {**os.environ, **peer.env}
    with (folder / "servers.log").open("ab") as log:
        process = subprocess.Popen(
            command, env=environment, cwd=folder if peer.env else None, stdout=log, stderr=log, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 90
        while True:
            with contextlib.suppress(requests.RequestException):
                if requests.post(peer.url, json=STATE, timeout=5).status_code == 200:
                    break
            if time.monotonic() > deadline or process.poll() is not None:
                raise SystemExit(f"{peer.name} does not answer: {(folder / 'servers.log').read_text()[-2000:]}")
            time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _check(load: Load) -> None:
    """Every peer must give the right action, as many times as it was asked."""
    answer = requests.post(load.peer.url, data=load.body, headers={"Content-Type": "application/json"}, timeout=10)
    found = re.findall(r'"action":\s*(\d)', answer.text)
    if answer.status_code != 200 or len(found) != load.observations or len(set(found)) != 1:
        raise SystemExit(f"{load.peer.name} answers {answer.status_code}: {answer.text[:200]}")


def _measure(load: Load, folder: Path, seconds: int) -> float:
    """Requests a second; refuses a run with errors."""
    script = folder / "post.lua"
    script.write_text(SCRIPT % load.body)
    base = ["taskset", "-c", load.generator, "wrk", "-t1", f"-c{CLIENTS}", "-s", str(script)]
    subprocess.run([*base, "-d1s", load.peer.url], check=True, capture_output=True)  # warm
    said = subprocess.run([*base, f"-d{seconds}s", load.peer.url], check=True, capture_output=True, text=True).stdout
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    if rate is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{load.peer.name}: {said}")
    return float(rate[1])


def _table(medians: dict[str, float], rates: dict[str, list[float]]) -> str:
    lines = ["| server | observations/s, median | lowest to highest |", "| --- | --- | --- |"]
    lines += [
        f"| {name} | {value:,.0f} | {min(rates[name]):,.0f} to {max(rates[name]):,.0f} |"
        for name, value in medians.items()
    ]
    wanted = [
        ("edge ÷ nginx answering a constant", "edge", "nginx, constant", "0.88"),
        ("edge ÷ Rust hyper", "edge", "Rust hyper", "1.0"),
        ("edge ÷ stock TorchServe", "edge", "TorchServe, stock", "8"),
        ("edge ÷ FastAPI + PyTorch", "edge", "FastAPI + PyTorch", "50"),
        (
            "two nginx workers ÷ one",
            "edge, two workers, load on a third",
            "edge, one worker, load on a third",
            "report",
        ),
        ("observations a second, 256 in one request ÷ one", "edge, 256 in one", "edge", "20"),
    ]
    lines += ["", "| what | found | at least |", "| --- | --- | --- |"]
    for what, above, below, least in wanted:
        found = (
            f"{medians[above] / medians[below]:.2f}"
            if below in medians
            else "not measured: cargo or its crates are missing"
        )
        lines.append(f"| {what} | {found} | {least} |")
    return "\n".join(lines)


def _free_ports() -> int:
    """The first of twenty ports that nobody listens on now."""
    for start in range(21000, 30000, 20):
        with contextlib.suppress(OSError):
            for port in range(start, start + 20):
                socket.create_server(("127.0.0.1", port)).close()
            return start
    raise SystemExit("no free ports")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
