"""Granian, a server in Rust, around a raw ASGI application."""

from pathlib import Path

from bench.peers.peer import HERE, Peer, Site, Start


def _start(site: Site) -> Start:
    words = ("--interface", "asgi", "--host", "127.0.0.1", "--port", str(site.port), "--workers", str(site.workers))
    place = ("--working-dir", str(HERE / "granian"), "--no-access-log", "--log-level", "error", "server:app")
    return Start((str(Path(site.python).with_name("granian")), *words, *place))


PEERS = (Peer("raw ASGI (Granian) + numpy", "granian", "states", "/predict", _start, shapes=((1, 1), (2, 1))),)
