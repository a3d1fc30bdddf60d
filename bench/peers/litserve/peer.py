"""LitServe: FastAPI with batching and inference processes."""

from functools import partial

from bench.peers.peer import Peer, script

PEERS = (
    Peer("LitServe", "litserve", "pictures", "/predict", partial(script, name="litserve"), wanted=1.0, form="base64"),
)
