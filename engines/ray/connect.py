"""Joins a Ray cluster after a first contact without Ray.

Ray itself waits for minutes where no cluster answers, and does not report a wrong token. A cluster may or may not
require a token, and Ray must know which before it is imported, so nothing here imports Ray until the cluster has
answered.
"""

import logging
import os
import time
from pathlib import Path

import grpc

from engines.python.messages import InternalServerException, ServiceUnavailableException

LOOPBACK = {"127.0.0.1", "localhost"}
ANSWER_S = 5.0
PAUSE_S = 0.2
GONE_S = 3.0
CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # a node's first call to a head; it has no parameters
MODE = "RAY_AUTH_MODE"
MISMATCH = "Version mismatch"  # the beginning of Ray's own message


def join(address: str, wait_s: float) -> None:
    """Join the cluster at `address`, HOST:PORT, which may still be starting.

    Raises ServiceUnavailableException when no cluster answers in time, and InternalServerException when it refuses the
    token or runs another Ray; each with one line.
    """
    deadline = time.monotonic() + wait_s
    os.environ[MODE] = "token" if _requires_token(address, deadline) else "disabled"
    _joined(address, deadline)


def wait_until_gone(address: str) -> None:
    """Return when the cluster at an address has not answered for a while, or has been replaced by another."""
    known = token() if os.environ.get(MODE) == "token" else None
    _, first = call(address, CLUSTER_ID, ANSWER_S, known)
    seen = time.monotonic()
    while time.monotonic() - seen < GONE_S:
        time.sleep(PAUSE_S)
        status, reply = call(address, CLUSTER_ID, ANSWER_S, known)
        if status is grpc.StatusCode.OK:
            if reply != first:
                return
            seen = time.monotonic()


def _requires_token(address: str, deadline: float) -> bool:
    while True:
        status, _ = call(address, CLUSTER_ID, ANSWER_S, None)
        if status is grpc.StatusCode.OK:
            return False
        if status is grpc.StatusCode.UNAUTHENTICATED:
            break
        if time.monotonic() >= deadline:
            raise ServiceUnavailableException(f"no Ray answers at {address}")
        time.sleep(PAUSE_S)
    known = token()
    if known is None:
        raise InternalServerException(
            f"Ray at {address} requires a token; RAY_AUTH_TOKEN_PATH names the file that has it"
        )
    if call(address, CLUSTER_ID, ANSWER_S, known)[0] is grpc.StatusCode.UNAUTHENTICATED:
        raise InternalServerException(
            f"Ray at {address} does not accept the token; RAY_AUTH_TOKEN_PATH names the file that has it"
        )
    return True


def call(address: str, method: str, timeout_s: float, token: str | None) -> tuple[grpc.StatusCode, bytes]:
    """Call a process of Ray without parameters; return the status and the reply.

    Where no such process listens, the status is the one that gRPC reports.
    """
    metadata = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(address) as channel:
        method_call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            reply: bytes = method_call(b"", timeout=timeout_s, metadata=metadata)
        except grpc.RpcError as error:
            return error.code(), b""
    return grpc.StatusCode.OK, reply


def token() -> str | None:
    """Return the token of the cluster from Ray's own sources, in Ray's order; None where there is none."""
    if given := os.environ.get("RAY_AUTH_TOKEN"):
        return given.strip()
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    try:
        return path.read_text().strip() or None
    except OSError:
        return None


def _joined(address: str, deadline: float) -> None:
    import ray
    from ray.exceptions import RayError

    host = address.rpartition(":")[0]
    own = {"_node_ip_address": host} if host in LOOPBACK else {}
    while True:
        try:
            ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.WARNING, **own)
            return
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            # The head answers a moment before its node accepts drivers. A version mismatch does not go away.
            if str(error).startswith(MISMATCH):
                raise InternalServerException(
                    f"Ray at {address} is another one: {' '.join(str(error).split())}"
                ) from None
            if time.monotonic() >= deadline:
                raise InternalServerException(
                    f"Ray at {address} cannot be joined: {str(error).strip().splitlines()[0]}"
                ) from None
            time.sleep(PAUSE_S)
