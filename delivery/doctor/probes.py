"""Probes that change nothing: requests without a key, for a name that does not exist, or with a body never sent."""

import http.client
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import requests

from delivery.doctor.check import Result, closed, is_open, not_checked
from delivery.sockets import Sockets

TIMEOUT_S = 5.0
UNUSED_NAME = "doctor_asks"  # no model, archive or workflow has this name
ORIGIN = "https://doctor.invalid"  # a site that no server admits
NO_HEADERS: Mapping[str, str] = {}
# Bytes, more than any limit: a server that accepts this header would accept any body.
HUGE = 1 << 44
WIDE = is_open("other machines reach it")


def plain(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    params: Mapping[str, str] = NO_HEADERS,
    body: bytes | None = None,
) -> requests.Response:
    """Send one request without a key, proxy, .netrc or redirect."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(
            method,
            url,
            headers=dict(headers),
            params=dict(params),
            data=body,
            timeout=TIMEOUT_S,
            allow_redirects=False,
        )


def answers(url: str) -> bool:
    """Return True when an HTTP server answers there."""
    try:
        plain("GET", url)
    except requests.RequestException:
        return False
    return True


def announce(method: str, url: str, headers: Mapping[str, str] = NO_HEADERS) -> int | None:
    """Announce a body of 16 TiB, never send it, and return the status; None when the server waits for the body."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=TIMEOUT_S)
    try:
        connection.putrequest(method, parts.path or "/")
        for name, value in {**headers, "Content-Length": str(HUGE), "Expect": "100-continue"}.items():
            connection.putheader(name, value)
        connection.endheaders()
        return connection.getresponse().status
    except TimeoutError:
        return None
    finally:
        connection.close()


def call(address: str, method: str) -> grpc.StatusCode:
    """Return the status of an empty gRPC call without a key, e.g. of `package.Service/Method`."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        ask = channel.unary_unary(f"/{method}", request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code()
            assert isinstance(code, grpc.StatusCode)
            return code
    return grpc.StatusCode.OK


def any_size(url: str, headers: Mapping[str, str] = NO_HEADERS) -> Result:
    """Report a server that accepts a body beyond any limit."""
    status = announce("POST", url, headers)
    if status is None:
        return is_open("16 TiB are announced, and it waits for them")
    return closed(f"16 TiB are refused before they are sent (status {status})")


def other_sites(method: str, url: str, headers: Mapping[str, str] = NO_HEADERS) -> Result:
    """Report a server that lets pages of unknown sites call it."""
    answer = plain(method, url, headers={"Origin": ORIGIN, **headers})
    if answer.headers.get("Access-Control-Allow-Origin") in {"*", ORIGIN}:
        return is_open("pages of any site may call it from their visitors' browsers")
    return closed("pages of other sites are refused")


def others_write(folder: Path) -> Result:
    """Report a folder into which other users may put files."""
    if not folder.is_dir():
        return not_checked(f"{folder} is not here")
    mode = folder.stat().st_mode & 0o777
    return is_open(f"{folder} has mode {mode:o}: others may write") if mode & 0o022 else closed(f"mode {mode:o}")


def others_read(secret: Path) -> Result:
    """Report a file that other users may read: its own mode and that of its folder allow it."""
    if not secret.is_file():
        return not_checked(f"{secret} is not here")
    mode, around = secret.stat().st_mode & 0o777, secret.parent.stat().st_mode & 0o777
    if mode & 0o022 or (mode & 0o044 and around & 0o011):
        return is_open(f"{secret} has mode {mode:o}: others may read it")
    return closed(f"mode {mode:o}, in a folder of mode {around:o}")


def reach(sockets: Sockets, host: str, port: int, *, wide: Result) -> Result:
    """Return closed on loopback, `wide` when other machines reach the port, and not checked on another machine."""
    if not sockets.is_here(host):
        return not_checked(f"{host} is another machine; run the doctor there, or check its firewall")
    found = sockets.on(port)
    if not found:
        return not_checked(f"no listener on port {port} is visible from here")
    wider = [f"{listener.address}:{port}" for listener in found if not listener.is_loopback]
    return Result(wide.state, f"{', '.join(wider)}: {wide.words}") if wider else closed(f"port {port}, loopback only")
