"""Ports that somebody else listens on, said in one line with the owner's pid and the setting that moves ours."""

import psutil

from errors import PortInUse
from stack.parts import Part, Port


def listeners() -> dict[int, int | None]:
    """Each TCP port that is listened on, with the pid of its owner; None where that is another user's process."""
    return {
        connection.laddr[1]: connection.pid
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }


def check(part: Part) -> None:
    """Raise PortInUse when a port of `part` is taken."""
    listening = listeners()
    for port in part.ports:
        if port.number in listening:
            raise PortInUse(_words(part, port, listening[port.number]))


def _words(part: Part, port: Port, pid: int | None) -> str:
    # Without a pid the owner is another user, whose processes only root may see.
    owner = f"pid {pid} ({_program(pid)})" if pid else "a process of another user"
    return f"{part.name}: port {port.number} is taken by {owner}; move ours with {port.setting}=PORT"


def _program(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "just ended"
