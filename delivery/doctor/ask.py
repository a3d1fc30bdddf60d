"""Questions that change nothing: asked without a key, of a name that nobody has, or with a body that is never sent."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit

import grpc
import requests

TIMEOUT_S = 5.0
NOBODY = "doctor_asks"  # no model, archive or workflow has this name
ORIGIN = "https://doctor.invalid"  # a site that nobody lets in
NO_HEADERS: Mapping[str, str] = {}
# More than any limit: whoever takes this head would take anything.
HUGE = 1 << 44


def plain(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] = NO_HEADERS,
    params: Mapping[str, str] = NO_HEADERS,
    body: bytes | None = None,
) -> requests.Response:
    """One request as a stranger sends it: no key, no proxy, no .netrc, no redirect."""
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
    """Whether anything speaks HTTP there."""
    try:
        plain("GET", url)
    except requests.RequestException:
        return False
    return True


def announce(method: str, url: str, headers: Mapping[str, str] = NO_HEADERS) -> int | None:
    """The status for a body of 16 TiB that is announced and never sent; None when the body is waited for."""
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
    """The status of an empty gRPC call without a key, e.g. of `package.Service/Method`."""
    with grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),)) as channel:
        ask = channel.unary_unary(f"/{method}", request_serializer=bytes, response_deserializer=bytes)
        try:
            ask(b"", timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            code = error.code()
            assert isinstance(code, grpc.StatusCode)
            return code
    return grpc.StatusCode.OK
