"""FastAPI and PyTorch around a policy."""

from bench.peers.peer import Peer, Site, Start, script


def _start(site: Site) -> Start:
    return Start((*script(site, "fastapi_policy").command, str(site.port), str(site.assets.policy_weights)))


PEERS = (
    Peer(
        "FastAPI + PyTorch",
        "fastapi_policy",
        "states",
        "/predict",
        _start,
        wanted=4.0,
        packages=("fastapi", "uvicorn", "torch", "numpy"),
    ),
)
