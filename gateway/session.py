"""The one pooled HTTP session to the engine, opened and closed with the gateway."""

import aiohttp

from settings.schema import Gateway


def open_session(gateway: Gateway) -> aiohttp.ClientSession:
    """A session with keep-alive connections, bounded for each of the engine's ports. Close it when done.

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
