"""Joins a Ray cluster, which is looked for first: Ray waits for minutes where none is, and does not name a wrong token.

A cluster either asks for a token or does not; Ray wants to know which before it is loaded, so nothing here imports it
until that has been found out.
"""

import logging
import os
import time
from pathlib import Path

import grpc

from engines.ray.refusals import Failed, Unavailable

LOOPBACK = {"127.0.0.1", "localhost"}
ANSWER_S = 5.0
PAUSE_S = 0.2
GONE_S = 3.0
CLUSTER_ID = "/ray.rpc.NodeInfoGcsService/GetClusterId"  # the first that every node asks a head; takes no parameters
MODE = "RAY_AUTH_MODE"
MISMATCH = "Version mismatch"  # how Ray's own words for it begin


def join(address: str, wait_s: float) -> None:
    """Join the cluster at `address`, HOST:PORT, which may still be on its way up.

    Raises Unavailable when nothing is there in time, and Failed when it refuses the token or runs another Ray; each
    with one line.
    """
    deadline = time.monotonic() + wait_s
    os.environ[MODE] = "token" if _asks_for_token(address, deadline) else "disabled"
    _joined(address, deadline)


def wait_until_gone(address: str) -> None:
    """Return when the cluster at an address has not answered for a while, or is another one than at first."""
    known = token() if os.environ.get(MODE) == "token" else None
    _, first = ask(address, CLUSTER_ID, ANSWER_S, known)
    seen = time.monotonic()
    while time.monotonic() - seen < GONE_S:
        time.sleep(PAUSE_S)
        status, reply = ask(address, CLUSTER_ID, ANSWER_S, known)
        if status is grpc.StatusCode.OK:
            if reply != first:
                return
            seen = time.monotonic()


def _asks_for_token(address: str, deadline: float) -> bool:
    while True:
        told, _ = ask(address, CLUSTER_ID, ANSWER_S, None)
        if told is grpc.StatusCode.OK:
            return False
        if told is grpc.StatusCode.UNAUTHENTICATED:
            break
        if time.monotonic() >= deadline:
            raise Unavailable(f"no Ray answers at {address}")
        time.sleep(PAUSE_S)
    known = token()
    if known is None:
        raise Failed(f"Ray at {address} asks for a token; RAY_AUTH_TOKEN_PATH names the file that has it")
    if ask(address, CLUSTER_ID, ANSWER_S, known)[0] is grpc.StatusCode.UNAUTHENTICATED:
        raise Failed(f"Ray at {address} does not accept the token; RAY_AUTH_TOKEN_PATH names the file that has it")
    return True


def ask(address: str, method: str, timeout_s: float, token: str | None) -> tuple[grpc.StatusCode, bytes]:
    """Return how a process of Ray takes a call without parameters, and its reply.

    Where no such process is, that is whatever gRPC makes of the place.
    """
    said = () if token is None else (("authorization", f"Bearer {token}"),)
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
        try:
            reply: bytes = call(b"", timeout=timeout_s, metadata=said)
        except grpc.RpcError as error:
            return error.code(), b""
    return grpc.StatusCode.OK, reply


def token() -> str | None:
    """Return the token of the cluster from where Ray itself takes it, in its order; None where there is none."""
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
            # The head answers a moment before its node takes anyone; another version will not be another one later.
            if str(error).startswith(MISMATCH):
                raise Failed(f"Ray at {address} is another one: {' '.join(str(error).split())}") from None
            if time.monotonic() >= deadline:
                raise Failed(f"Ray at {address} cannot be joined: {str(error).strip().splitlines()[0]}") from None
            time.sleep(PAUSE_S)
