"""What is opened with the gateway and closed with it: connections to the engine."""

import aiohttp

from gateway.wire import Pool, tcp
from settings.schema import Gateway


def open_pool(gateway: Gateway, host: str, port: int) -> Pool:
    """Connections for predictions, kept alive and bounded; each request's own deadline ends it. Close it when done."""
    return Pool(
        tcp(host, port),
        limit=gateway.upstream_connections,
        keepalive_s=gateway.upstream_keepalive_s,
        connect_timeout_s=gateway.connect_timeout_s,
    )


def open_session(gateway: Gateway) -> aiohttp.ClientSession:
    """A session for descriptions of the engine with keep-alive connections, bounded. Close it when done.

    Its requests have no time limit of their own but that for connecting: each request's deadline ends them.
    """
    connector = aiohttp.TCPConnector(
        limit=0, limit_per_host=gateway.upstream_connections, keepalive_timeout=gateway.upstream_keepalive_s
    )
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=gateway.connect_timeout_s),
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
    )
