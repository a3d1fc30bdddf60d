"""How uvicorn runs the gateway, and where it may be seen from."""

from ipaddress import ip_address
from typing import Any

from errors import ConfigError
from settings.schema import Gateway

# Longer than what load generators and proxies keep idle connections for, so that they close first.
KEEP_ALIVE_S = 75


def options(gateway: Gateway) -> dict[str, Any]:
    """Keyword arguments for uvicorn.run. Raises ConfigError when the host may not be bound to."""
    check_host(gateway)
    return {
        "host": gateway.host,
        "port": gateway.port,
        "workers": gateway.processes,
        "loop": "uvloop",
        "http": "httptools",
        "ws": "none",
        "lifespan": "on",
        "log_config": None,
        "access_log": False,
        "server_header": False,
        "proxy_headers": False,
        "timeout_keep_alive": KEEP_ALIVE_S,
        "timeout_graceful_shutdown": gateway.graceful_stop_s,
    }


def check_host(gateway: Gateway) -> None:
    """Refuses to be seen from other machines unless that was asked for."""
    if not gateway.insecure and not _is_loopback(gateway.host):
        raise ConfigError(
            f"gateway.host={gateway.host} can be reached from other machines and nothing checks who asks; "
            "set gateway.insecure=true to allow it"
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
