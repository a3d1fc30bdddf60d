"""The Front's own port: requests come to it straight, and not by a proxy of Ray's.

Between a proxy and a replica Ray carries each HTTP request as a stream of its own messages; docs/ray.md says what that
costs, and with which command it was measured.
"""

import asyncio
import socket
from dataclasses import dataclass
from typing import Any

import uvicorn

KEEP_ALIVE_S = 3600
STOP_S = 15
BACKLOG = 2048


@dataclass(frozen=True)
class Address:
    """Where a Front listens."""

    host: str
    port: int


class Listener:
    """An HTTP server inside the event loop that is running."""

    def __init__(self, address: Address, application: Any) -> None:
        """Take the port for an ASGI application, which is asked for HTTP and nothing else.

        Raises OSError when somebody else has it. Other Fronts of this machine share it.
        """
        self._socket = _bound(address)
        config = uvicorn.Config(
            application,
            http="httptools",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = uvicorn.Server(config)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answer from now on."""
        self._serving = asyncio.get_running_loop().create_task(self._server.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Take no new connection, and return when what was asked has been answered."""
        self._server.should_exit = True
        if self._serving is not None:
            await self._serving
        self._socket.close()


def _bound(address: Address) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address.host else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address.host, address.port))
        made.listen(BACKLOG)
    except OSError:
        made.close()
        raise
    return made
