"""BentoML: services with worker processes."""

from pathlib import Path

from bench.peers.peer import HERE, Peer, Site, Start


def _start(site: Site) -> Start:
    serve = ("serve", "server:Classify", "--working-dir", str(HERE / "bentoml"), "--host", "127.0.0.1")
    own = {"BENTOML_HOME": str(site.folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    return Start((str(Path(site.python).with_name("bentoml")), *serve, "--port", str(site.port)), own)


PEERS = (Peer("BentoML", "bentoml", "pictures", "/classify", _start, wanted=1.0, form="multipart"),)
