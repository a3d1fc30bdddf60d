"""A policy in Rust behind hyper, built where cargo and Debian's crates are: the floor that native code sets."""

import shutil

from bench import edge_peers
from bench.peers.peer import Peer, Site, Start


def _start(site: Site) -> Start:
    folder = site.assets.folder / "rust"
    folder.mkdir(exist_ok=True)
    built = edge_peers.rust(site.port, site.assets.policy_weights, folder)
    assert built is not None  # _needs has looked
    return Start(built.command)


def _needs() -> str:
    if shutil.which("cargo") is None or not edge_peers.CRATES.is_dir():
        return "cargo or Debian's crates are missing: apt-get install cargo librust-hyper-dev librust-tokio-dev"
    return ""


PEERS = (
    Peer("native: Rust, hyper", "rust", "states", "/predict", _start, user=("src/main.rs", "Cargo.toml"), needs=_needs),
)
