"""How a benchmark's command ends: whatever stops it, what it has started is stopped first."""

import logging
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from bench.server import Failed
from errors import MarinaError

INTERRUPTED = 130


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run the command with its arguments and exit; Ctrl-C and SIGTERM unwind it, so that every server is ended."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; everything that was started is stopped\n")
        sys.exit(INTERRUPTED)
    except (Failed, MarinaError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
