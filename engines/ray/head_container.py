"""`python -m engines.ray.head_container [overrides]`: the head of a cluster of containers, and the manager beside it.

    engines.ray.head ──▶ when it ends, the container ends, and its restart policy starts a new cluster
    engines.ray      ──▶ the manager; when it ends, it is started again, and predictions go on

Both listen on this container's address. Two containers cannot do this: Docker does not restart a manager that shares
the network of a head that is away.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import commands
import settings
from engines.python.process_setup import log_output, log_program
from engines.ray.programs import head_command, manager_command
from errors import ConfigError
from settings.schema import RayServeSettings

log = logging.getLogger(__name__)

USAGE = """\
usage: python -m engines.ray.head_container [hydra overrides]

  run the head and the manager of a cluster of containers until SIGTERM
"""
LOOK_S = 0.5
END_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """Run until SIGTERM, which is status 0, or until the head ends, which is status 1."""
    log_program()
    log_output()
    signal.signal(signal.SIGTERM, _interrupt)
    own = (f"engine.host={socket.gethostbyname(socket.gethostname())}", *arguments)
    engine = settings.load(own).engine
    if not isinstance(engine, RayServeSettings):
        raise ConfigError(f"engine={engine.name}: this is the head of engine=ray")
    # The manager's threads have no event loop that a handle could share.
    env = {**os.environ, "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "1"}
    head = subprocess.Popen(head_command(engine, Path(os.environ.get("TMPDIR", "/tmp")) / "ray"))  # noqa: S108
    manager = subprocess.Popen(manager_command(own), env=env)
    try:
        while head.poll() is None:
            if manager.poll() is not None:
                log.warning("the manager ended with status %s and is started again", manager.returncode)
                manager = subprocess.Popen(manager_command(own), env=env)
            time.sleep(LOOK_S)
        log.error("the head ended with status %s", head.returncode)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        _end(manager, head)


def _end(*processes: "subprocess.Popen[bytes]") -> None:
    """End processes, one after the other; what does not end in time is killed."""
    for process in processes:
        process.terminate()
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
