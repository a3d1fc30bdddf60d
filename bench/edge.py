"""`python -m bench.edge [--rounds 3] [--seconds 5] [--write FILE] [overrides]`: the edge beside its peers.

Needs wrk and taskset; for the Rust peer also `apt-get install cargo librust-hyper-dev librust-tokio-dev
librust-serde-json-dev`. One core for the server and one for wrk, 64 clients,
each round in another order. A ratio is the median of those of the rounds. Processor time is that of the server's
processes, which noise from elsewhere disturbs less than it does the rate.
"""

import contextlib
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import requests

import commands
import settings
from bench import document, edge_peers, machine, options
from bench.edge_peers import Peer
from bench.figures import median_ratio
from bench.ports import free_ports
from bench.turns import turned
from edge.compiler import nginx_program
from edge.edge_policy import read_edge_policy
from edge.nginx_module import NginxModule, build_module
from edge.nginx_server import EdgeServer
from settings import Settings
from stack.store_servers import nginx_command

STATE = {"cart_position": -0.0446, "cart_velocity": 0.0465, "pole_angle": 0.0133, "pole_angular_velocity": -0.021}
MANY = 256
CLIENTS = 64
SECTION = "edge"
LEAST_CORES = 3
SCRIPT = 'wrk.method = "POST"\nwrk.body = [==[%s]==]\nwrk.headers["Content-Type"] = "application/json"\n'


@dataclass(frozen=True)
class Load:
    """A peer under one body."""

    peer: Peer
    body: str
    observations: int = 1
    generator: str = "1"


@dataclass(frozen=True)
class Run:
    """One round of a load: observations a second, and processor time of the server for each, in seconds."""

    rate: float
    processor: float


def main(arguments: Sequence[str]) -> int:
    """Print the tables, and write them into a document where one is given."""
    parser = options.parser("bench.edge", SECTION, rounds=3, seconds=5.0)
    parser.add_argument("overrides", nargs="*", help="of the edge's settings")
    given = parser.parse_args(arguments)
    document.check(given.write, SECTION)
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        loads = _loads(Path(folder), given.overrides)
        runs: dict[str, list[Run]] = {name: [] for name in loads}
        for number in range(given.rounds):
            for name, load in turned(list(loads.items()), number):
                with _running(load.peer, Path(folder)) as server:
                    _check(load)
                    found = _measure(load, server, Path(folder), given.seconds)
                runs[name].append(found)
                told = f"{found.rate:.0f} observations/s, {found.processor * 1e6:.2f} µs each"
                print(f"round {number + 1}: {name} {told}", file=sys.stderr, flush=True)
    measured = f"nginx {_nginx_version()}; {given.rounds} rounds of {given.seconds:g} s, {CLIENTS} clients"
    text = f"{machine.heading(['python', '-m', 'bench.edge', *arguments], measured)}\n\n{_table(runs)}"
    print(text)
    document.write(given.write, SECTION, text)
    return 0


def _nginx_version() -> str:
    told = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
    return told.rpartition("/")[2].strip()


def _loads(folder: Path, overrides: list[str]) -> dict[str, Load]:
    port = free_ports(20)
    cores = os.cpu_count() or 1
    state = ["served_model=cartpole", f"edge.port={port}", f"paths.state={folder / 'state'}", *overrides]
    loaded = settings.load(state)
    archive = Path(loaded.paths.archives) / "cartpole.mar"
    built = build_module(archive, loaded)
    policy = read_edge_policy(built.archive)
    weights = edge_peers.weights_file(policy, folder)
    one = json.dumps(STATE)
    many = json.dumps({"instances": [list(STATE.values())] * MANY})
    peers = {workers: _edge(built, loaded, folder, port + workers, workers) for workers in (1, 2)}
    general = replace(peers[1], url=peers[1].url.removesuffix("/predict") + "/models/cartpole/predict")
    third = f"{cores - max(1, cores // 3)}-{cores - 1}"
    servers = f"0-{max(0, cores - max(1, cores // 3) - 1)}"
    loads = {
        "nginx, constant": Load(edge_peers.constant(port + 3, folder), one),
        "edge": Load(peers[1], one),
        "TorchServe, stock": Load(edge_peers.torchserve(port + 10, built.archive, folder), one),
        "FastAPI + PyTorch": Load(edge_peers.fastapi(port + 4, weights), one),
        "edge, 256 in one": Load(general, many, MANY),
        "edge, one worker, load on a third": Load(replace(peers[1], cores=servers), one, generator=third),
        "edge, two workers, load on a third": Load(replace(peers[2], cores=servers), one, generator=third),
    }
    if (hyper := edge_peers.rust(port + 5, weights, folder)) is not None:
        loads["Rust hyper"] = Load(hyper, one)
    return loads


def _edge(module: NginxModule, loaded: Settings, folder: Path, port: int, workers: int) -> Peer:
    edge = loaded.edge.model_copy(update={"workers": workers, "port": port})
    named = loaded.model_copy(update={"edge": edge})
    server = EdgeServer(folder / f"edge{port}")
    server.configure(module, named)
    return Peer(f"edge, {workers} workers", nginx_command(nginx_program(), server.folder), f"{edge.url}/predict")


@contextlib.contextmanager
def _running(peer: Peer, folder: Path) -> Iterator[int]:
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
        yield process.pid
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


def _measure(load: Load, server: int, folder: Path, seconds: float) -> Run:
    """Refuses a run with errors."""
    script = folder / "post.lua"
    script.write_text(SCRIPT % load.body)
    base = ["taskset", "-c", load.generator, "wrk", "-t1", f"-c{CLIENTS}", "-s", str(script)]
    subprocess.run([*base, "-d1s", load.peer.url], check=True, capture_output=True)  # warm
    before = _processor_s(server)
    said = subprocess.run(
        [*base, f"-d{max(1, round(seconds))}s", load.peer.url], check=True, capture_output=True, text=True
    ).stdout
    spent = _processor_s(server) - before
    rate, count = re.search(r"Requests/sec:\s+([\d.]+)", said), re.search(r"(\d+) requests in", said)
    if rate is None or count is None or "Non-2xx" in said or "Socket errors" in said:
        raise SystemExit(f"{load.peer.name}: {said}")
    return Run(float(rate[1]) * load.observations, spent / (int(count[1]) * load.observations))


def _processor_s(leader: int) -> float:
    """Processor time of all processes of a session, in user and system mode."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _table(runs: Mapping[str, Sequence[Run]]) -> str:
    lines = [
        "| server | observations/s, median | lowest to highest | µs of processor each |",
        "| --- | --- | --- | --- |",
    ]
    for name, found in runs.items():
        rates, spent = [run.rate for run in found], statistics.median(run.processor for run in found)
        spread = f"{min(rates):,.0f} to {max(rates):,.0f}"
        lines.append(f"| {name} | {statistics.median(rates):,.0f} | {spread} | {spent * 1e6:.2f} |")
    wanted = [
        ("edge ÷ nginx answering a constant", "edge", "nginx, constant", 0.88),
        ("edge ÷ Rust hyper", "edge", "Rust hyper", 1.0),
        ("edge ÷ stock TorchServe", "edge", "TorchServe, stock", 8.0),
        ("edge ÷ FastAPI + PyTorch", "edge", "FastAPI + PyTorch", 50.0),
        ("two nginx workers ÷ one", "edge, two workers, load on a third", "edge, one worker, load on a third", None),
        ("observations a second, 256 in one request ÷ one", "edge, 256 in one", "edge", 20.0),
    ]
    lines += [
        "",
        "| what | by rate | by processor time | at least, by rate | reached |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [_ratio(runs, *row) for row in wanted]
    if (os.cpu_count() or 1) < LEAST_CORES:
        lines += ["", f"Two workers beside a load generator on a third need {LEAST_CORES} cores; here they share one."]
    return "\n".join(lines)


def _ratio(runs: Mapping[str, Sequence[Run]], what: str, above: str, below: str, least: float | None) -> str:
    words = "report" if least is None else f"{least:g}"
    if above not in runs or below not in runs:
        return f"| {what} | not measured: {above if above not in runs else below} cannot be built here | | {words} | |"
    rate = median_ratio([run.rate for run in runs[above]], [run.rate for run in runs[below]])
    spent = median_ratio([run.processor for run in runs[below]], [run.processor for run in runs[above]])
    reached = "" if least is None else "yes" if rate >= least else "no"
    return f"| {what} | **{rate:.2f}** | {spent:.2f} | {words} | {reached} |"


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
