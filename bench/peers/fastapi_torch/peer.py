"""FastAPI and PyTorch, as people write it first and as they write it after a month; pinned by the kit's own files."""

from bench.peers.peer import HERE, TORCHVISION, Peer, Site, Start

PACKAGES = ("fastapi", "uvicorn", "python-multipart", "torch", "torchvision", "pillow")


def _untuned(site: Site) -> Start:
    return Start((site.python, str(HERE / "fastapi_torch" / "server.py")), TORCHVISION)


def _tuned(site: Site) -> Start:
    return Start((site.python, str(HERE / "fastapi_torch" / "tuned.py")), TORCHVISION)


PEERS = (
    Peer(
        "FastAPI + PyTorch, untuned",
        "fastapi_torch",
        "pictures",
        "/predict",
        _untuned,
        wanted=4.0,
        form="multipart",
        user=("server.py",),
        packages=PACKAGES,
    ),
    Peer(
        "FastAPI + PyTorch, best processes x threads",
        "fastapi_torch",
        "pictures",
        "/predict",
        _tuned,
        wanted=2.4,
        form="multipart",
        shapes=((1, 1), (1, 2), (2, 1), (3, 1)),
        user=("tuned.py",),
        packages=PACKAGES,
    ),
)
