"""mosec: a Rust front and Python worker processes."""

from bench.peers.peer import Peer, Site, Start, script


def _start(site: Site) -> Start:
    command = (*script(site, "mosec").command, "--port", str(site.port), "--address", "127.0.0.1")
    return Start(command, {"MOSEC_LOG_LEVEL": "warning"})


PEERS = (Peer("mosec", "mosec", "pictures", "/inference", _start, wanted=1.0),)
