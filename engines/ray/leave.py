"""`python -m engines.ray.leave HOST:PORT SECRET`: removes one stack's models from a cluster that it had joined.

The cluster, other applications, and a Frontend with another secret than the one in the file SECRET stay. Serve itself
is shut down when no application is left in it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.python.messages import ErrorResponse, InternalServerException, ServiceUnavailableException
from engines.python.registry import FRONTEND, is_ours
from engines.ray.connect import join
from engines.ray.recovery import recorded_secret

WAIT_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """Return 0 when nothing of this stack is left there."""
    address, secret = arguments[0], Path(arguments[1])
    if not secret.exists():
        return 0  # no manager has started yet
    try:
        join(address, WAIT_S)
        _leave(secret.read_text().strip())
    except ServiceUnavailableException:
        return 0
    except ErrorResponse as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _leave(secret: str) -> None:
    from ray import serve
    from ray.serve.exceptions import RayServeException

    from engines.ray import deployments

    try:
        found = deployments.application_details()
    except RayServeException:
        return  # no Serve, so no models of this stack
    if recorded_secret(found) != secret:
        return
    ours = [name for name in found if name == FRONTEND or is_ours(name)]
    deployments.end_applications(ours)
    if not deployments.wait_until_ended(ours):
        raise InternalServerException("they still answer requests, and end after the last one")
    if len(ours) == len(found):
        serve.shutdown()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # As in the manager: Ray's own exit waits for threads that nobody needs.
    os._exit(status)
