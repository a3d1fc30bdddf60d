"""FastAPI and ONNX Runtime, base64 JSON; the packages are the kit's own, in an environment without torch."""

from functools import partial

from bench.peers.peer import Peer, script

PEERS = (
    Peer(
        "FastAPI + ONNX Runtime, base64 JSON",
        "fastapi_onnx",
        "pictures",
        "/predict",
        partial(script, name="fastapi_onnx"),
        wanted=1.5,
        form="base64",
        shapes=((1, 2), (2, 1)),
    ),
)
