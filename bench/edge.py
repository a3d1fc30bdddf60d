"""`python -m bench.edge [--rounds 3] [--seconds 5] [--write FILE] [overrides]`: the policy edge beside its peers.

Needs wrk and taskset; the Rust peer also needs `apt-get install cargo librust-hyper-dev librust-tokio-dev
librust-serde-json-dev`. One core for the server and one for wrk, 64 clients, each round in another order. A ratio is
the median of those of the rounds. Processor time is that of the server's processes: noise from elsewhere disturbs it
less than it does the rate.
"""

import contextlib
import json
import logging
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import requests

import settings
from archive import TrustedArchive, stamp, stamped
from bench import document, driver, options
from bench.assets import write_weights
from bench.driver import turned
from bench.local_stack import free_ports
from bench.peers import launch
from bench.peers.launch import Start
from bench.server_process import MeasurementError, processor_s, serving
from bench.tables import median_ratio, table
from edge.compiler import nginx_program
from edge.edge_policy import read_edge_policy
from edge.nginx_module import NginxModule, build_module
from edge.nginx_server import EdgeServer
from settings import Settings
from stack.store_servers import nginx_command

_log = logging.getLogger("bench.edge")

STATE = {"cart_position": -0.0446, "cart_velocity": 0.0465, "pole_angle": 0.0133, "pole_angular_velocity": -0.021}
MANY = 256
CLIENTS = 64
SECTION = "edge"
LEAST_CORES = 3
SCRIPT = 'wrk.method = "POST"\nwrk.body = [==[%s]==]\nwrk.headers["Content-Type"] = "application/json"\n'
NGINX = """daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/b;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{{"action":1}}'; }} }} }}
"""


@dataclass(frozen=True)
class EdgeLoad:
    """A server and the body that it gets: `observations` states a request; cores of the server and of wrk."""

    start: Start
    url: str
    body: str
    observations: int = 1
    server_cores: str = "0"
    client_cores: str = "1"


@dataclass(frozen=True)
class Run:
    """One round of a load: observations a second, and the server's processor time for each, in seconds."""

    rate: float
    processor: float


def main(arguments: Sequence[str]) -> int:
    """Print the tables, and write them into a document if one is given."""
    parser = options.parser("bench.edge", SECTION, rounds=3, seconds=5.0, overrides="of the edge's settings")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        loads = _loads(Path(folder), given.overrides)
        runs: dict[str, list[Run]] = {name: [] for name in loads}
        for number in range(given.rounds):
            for name, load in turned(list(loads.items()), number):
                found = _round(load, Path(folder) / "server", given.seconds)
                runs[name].append(found)
                each = found.processor * 1e6
                _log.info("round %d, %s: %.0f observations/s, %.2f µs each", number + 1, name, found.rate, each)
    measured = f"nginx {_nginx_version()}; {given.rounds} rounds of {given.seconds:g} s, {CLIENTS} clients"
    heading = document.heading("bench.edge", arguments, measured)
    document.publish(given.write, SECTION, f"{heading}\n\n{_tables(runs)}")
    return 0


def _nginx_version() -> str:
    printed = subprocess.run([nginx_program(), "-v"], capture_output=True, text=True, check=True).stderr
    return printed.rpartition("/")[2].strip()


def _loads(folder: Path, overrides: list[str]) -> dict[str, EdgeLoad]:
    port = free_ports(20)[0]
    loaded = settings.load(
        ["served_model=cartpole", f"edge.port={port}", f"paths.state={folder / 'state'}", *overrides]
    )
    built = build_module(Path(loaded.paths.archives) / "cartpole.mar", loaded)
    weights = folder / "weights.bin"
    write_weights(read_edge_policy(built.archive), weights)
    one = json.dumps(STATE)
    many = json.dumps({"instances": [list(STATE.values())] * MANY})
    edge, two_workers = (_edge(built, loaded, folder, port + workers, workers, one) for workers in (1, 2))
    general = edge.url.removesuffix("/predict") + "/models/cartpole/predict"
    model = built.archive.model_name

    def peer(port: int, start: Start, path: str = "/predict") -> EdgeLoad:
        return EdgeLoad(start, f"http://127.0.0.1:{port}{path}", one)

    loads = {
        "nginx, constant": peer(port + 3, _constant(port + 3, folder / "constant")),
        "edge": edge,
        "TorchServe, stock": peer(port + 10, _torchserve(port + 10, built.archive, folder), f"/predictions/{model}"),
        "FastAPI + PyTorch": peer(port + 4, launch.fastapi_policy(sys.executable, port + 4, weights)),
        "edge, 256 in one": replace(edge, url=general, body=many, observations=MANY),
        "edge, one worker, load on a third": _shared(edge),
        "edge, two workers, load on a third": _shared(two_workers),
    }
    if not launch.needs_rust():
        loads["Rust hyper"] = peer(port + 5, launch.rust(port + 5, weights, folder))
    return loads


def _edge(module: NginxModule, loaded: Settings, folder: Path, port: int, workers: int, body: str) -> EdgeLoad:
    edge = loaded.edge.model_copy(update={"workers": workers, "port": port})
    server = EdgeServer(folder / f"edge{port}")
    server.configure(module, loaded.model_copy(update={"edge": edge}))
    return EdgeLoad(Start(tuple(nginx_command(nginx_program(), server.folder))), f"{edge.url}/predict", body)


def _shared(load: EdgeLoad) -> EdgeLoad:
    """Return the load with a third of the cores for wrk, and the others for the server."""
    cores = os.cpu_count() or 1
    third = max(1, cores // 3)
    return replace(load, server_cores=f"0-{max(0, cores - third - 1)}", client_cores=f"{cores - third}-{cores - 1}")


def _constant(port: int, folder: Path) -> Start:
    """Start the same nginx with a constant answer."""
    folder.mkdir()
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
    return Start(nginx_command(nginx_program(), folder))


def _torchserve(port: int, archive: TrustedArchive, folder: Path) -> Start:
    """Start TorchServe with the same archive; one worker."""
    store = folder / "store"
    store.mkdir()
    path = store / f"{archive.model_name}.mar"
    stamp(archive, archive.version, path, stamped(archive))
    return launch.torchserve_around(sys.executable, port, folder, path)


def _round(load: EdgeLoad, folder: Path, seconds: float) -> Run:
    """Start the server, check its answers and run wrk. Raises MeasurementError for a run with errors."""
    prefix = ("taskset", "-c", load.client_cores)
    script = SCRIPT % load.body
    with serving(("taskset", "-c", load.server_cores, *load.start.command), load.start.env, folder) as server:
        server.wait(lambda: _answers(load))
        _check(load)
        driver.wrk(script, load.url, CLIENTS, 1, prefix)  # warm
        before = processor_s(server.processes())
        rate, count = driver.wrk(script, load.url, CLIENTS, seconds, prefix)
        spent = processor_s(server.processes()) - before
    return Run(rate * load.observations, spent / (count * load.observations))


def _answers(load: EdgeLoad) -> bool:
    with contextlib.suppress(requests.RequestException):
        return requests.post(load.url, json=STATE, timeout=5).status_code == 200
    return False


def _check(load: EdgeLoad) -> None:
    """Raise MeasurementError unless the server gives one action for each state, and the same one for equal states."""
    answer = requests.post(load.url, data=load.body, headers={"Content-Type": "application/json"}, timeout=10)
    found = re.findall(r'"action":\s*(\d)', answer.text)
    if answer.status_code != 200 or len(found) != load.observations or len(set(found)) != 1:
        raise MeasurementError(f"{load.url} answers {answer.status_code}: {answer.text[:200]}")


WANTED = (
    ("edge ÷ nginx answering a constant", "edge", "nginx, constant", 0.88),
    ("edge ÷ Rust hyper", "edge", "Rust hyper", 1.0),
    ("edge ÷ stock TorchServe", "edge", "TorchServe, stock", 8.0),
    ("edge ÷ FastAPI + PyTorch", "edge", "FastAPI + PyTorch", 50.0),
    ("two nginx workers ÷ one", "edge, two workers, load on a third", "edge, one worker, load on a third", None),
    ("observations a second, 256 in one request ÷ one", "edge, 256 in one", "edge", 20.0),
)
"""Ratios of two servers, and the least that each should be."""


def _tables(runs: Mapping[str, Sequence[Run]]) -> str:
    rates = ("server", "observations/s, median", "lowest to highest", "µs of processor each")
    ratios = ("what", "by rate", "by processor time", "at least, by rate", "reached")
    parts = [
        table(rates, (_rate(name, found) for name, found in runs.items())),
        table(ratios, (_ratio(runs, *row) for row in WANTED)),
    ]
    if (os.cpu_count() or 1) < LEAST_CORES:
        parts.append(f"Two workers beside a load generator on a third need {LEAST_CORES} cores; here they share one.")
    return "\n\n".join(parts)


def _rate(name: str, runs: Sequence[Run]) -> tuple[str, ...]:
    rates, spent = [run.rate for run in runs], statistics.median(run.processor for run in runs)
    return (
        name,
        f"{statistics.median(rates):,.0f}",
        f"{min(rates):,.0f} to {max(rates):,.0f}",
        f"{spent * 1e6:.2f}",
    )


def _ratio(
    runs: Mapping[str, Sequence[Run]], what: str, above: str, below: str, least: float | None
) -> tuple[str, ...]:
    wanted = "report" if least is None else f"{least:g}"
    if above not in runs or below not in runs:
        missing = above if above not in runs else below
        return (what, f"not measured: {missing} cannot be built here", "", wanted, "")
    rate = median_ratio([run.rate for run in runs[above]], [run.rate for run in runs[below]])
    spent = median_ratio([run.processor for run in runs[below]], [run.processor for run in runs[above]])
    reached = "" if least is None else "yes" if rate >= least else "no"
    return (what, f"**{rate:.2f}**", f"{spent:.2f}", wanted, reached)


if __name__ == "__main__":
    options.program(main)
