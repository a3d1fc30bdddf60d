"""`python -m engines.ray.leave HOST:PORT SECRET`: takes one stack's models out of a cluster that it had joined.

The cluster, what else runs there, and a Front with another secret than the one in the file SECRET are left alone. Serve
itself goes where nothing of anybody is left in it.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.ray.joining import join
from engines.ray.recovered import owner
from engines.ray.refusals import Failed, Refusal, Unavailable
from engines.ray.table import FRONT, is_ours

WAIT_S = 10.0


def main(arguments: Sequence[str]) -> int:
    """Return 0 when nothing of ours is left there."""
    address, secret = arguments[0], Path(arguments[1])
    if not secret.exists():
        return 0  # no Manager came so far
    try:
        join(address, WAIT_S)
        _leave(secret.read_text().strip())
    except Unavailable:
        return 0
    except Refusal as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _leave(secret: str) -> None:
    from ray import serve
    from ray.serve.exceptions import RayServeException

    from engines.ray import applications

    try:
        found = applications.details()
    except RayServeException:
        return  # no Serve, so nothing of ours
    if owner(found) != secret:
        return
    ours = [name for name in found if name == FRONT or is_ours(name)]
    applications.end(ours)
    if not applications.wait_until_gone(ours):
        raise Failed("they answer what they were asked, and end after it")
    if len(ours) == len(found):
        serve.shutdown()


if __name__ == "__main__":
    status = main(sys.argv[1:])
    sys.stderr.flush()
    # As in the Manager: Ray's own ending waits for threads that nobody has a use for.
    os._exit(status)
