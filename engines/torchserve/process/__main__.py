"""`python -m engines.torchserve.process ARGUMENTS`: TorchServe, with the arguments of its own launcher.

The current folder gets TorchServe's key file. SIGTERM and SIGINT end TorchServe in order, a second one at once.
The exit status is 0 after an orderly end, and otherwise that of Java: 128 and the number of the signal that ended it.
"""

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import logs
from engines.torchserve.process import java
from engines.torchserve.process.ending import drain
from engines.torchserve.process.local_api import KEY_FILE, LocalApi
from engines.torchserve.process.watches import AddressWatch, KeyWatch, MemoryWatch, RoomWatch, check_key_folder
from errors import MarinaError
from logs import event

_log = logging.getLogger("engines.torchserve.process")

DRAIN_S = 20.0  # twice the gateway's default deadline of a request
MARGIN_S = 5.0  # one call to TorchServe may last longer than the time for all of them
JAVA_S = 10.0  # how long Java may take to end its workers and itself
WATCH_S = 1.0
RESTART = 0  # in place of a signal: whoever started this process starts it again


class FirstProcess:
    """TorchServe's parent, from its start to its end."""

    def __init__(self, arguments: Sequence[str], drain_s: float) -> None:
        """`arguments` are those of TorchServe's launcher."""
        self._arguments = arguments
        self._drain_s = drain_s
        self._signals: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._java = 0
        self._asked: int | None = None  # the signal that asked for the end
        self._local = LocalApi(os.environ)
        self._key_file = Path.cwd() / KEY_FILE
        self._keys = KeyWatch(self._local, self._key_file)

    def run(self) -> int:
        """Run TorchServe and return the exit status. Raises StackError when it does not start."""
        for heard in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(heard, lambda received, _frame: self._signals.put(received))
        java.adopt_orphans()
        java.make_room(Path(self._arguments[self._arguments.index("--model-store") + 1]))
        check_key_folder(self._key_file.parent)
        addresses = AddressWatch(os.environ)
        self._java = java.start(self._arguments)
        threading.Thread(target=self._watch, args=(addresses,), name="watch", daemon=True).start()
        while True:
            number = self._signals.get()
            if number == signal.SIGCHLD:
                ended = java.reap()
                if self._java in ended:
                    return self._status(ended[self._java])
            else:
                self._end(number)

    def _watch(self, addresses: AddressWatch) -> None:
        watches = (self._keys, RoomWatch(self._key_file.parent), MemoryWatch(self._local, self._key_file))
        while self._asked is None:
            for watch in watches:
                try:
                    watch.turn()
                except Exception:  # noqa: BLE001 -- the edge of a thread: the other watches go on
                    _log.exception("watch_failed")
            moved = addresses.moved()
            if moved is not None:
                event(_log, logging.ERROR, "address_lost", reason=f"{moved}; TorchServe must start again")
                self._signals.put(RESTART)
                return
            time.sleep(WATCH_S)

    def _end(self, number: int) -> None:
        if self._asked is not None:
            event(_log, logging.WARNING, "killed", reason="a second signal")
            java.send(self._java, signal.SIGKILL)
            return
        self._asked = number
        event(_log, logging.INFO, "ending", signal=number, drain_s=self._drain_s)
        threading.Thread(target=self._end_in_order, name="end", daemon=True).start()

    def _end_in_order(self) -> None:
        draining = threading.Thread(target=self._drain, name="drain", daemon=True)
        draining.start()
        draining.join(self._drain_s + MARGIN_S)
        java.send(self._java, signal.SIGTERM)
        time.sleep(JAVA_S)
        event(_log, logging.WARNING, "killed", reason=f"TorchServe did not end within {JAVA_S:g} s")
        java.send(self._java, signal.SIGKILL)

    def _drain(self) -> None:
        try:
            drain(self._local, self._key_file, self._keys.last, self._drain_s)
        except Exception:  # noqa: BLE001 -- the edge of a thread: TorchServe must end all the same
            _log.exception("drain_failed")

    def _status(self, status: int) -> int:
        """End the workers that Java left, and return this process' own status."""
        left = java.children()
        for pid in left:
            java.send(pid, signal.SIGKILL)
        if self._asked is not None and status == java.KILLED + signal.SIGTERM:
            return 1 if self._asked == RESTART else 0
        event(_log, logging.ERROR, "torchserve_ended", status=status, workers_left=len(left))
        return status


def main(arguments: Sequence[str]) -> int:
    """Run TorchServe until it ends, and return the exit status."""
    logs.configure()
    try:
        return FirstProcess(arguments, float(os.environ.get("MARINA_TS_DRAIN_S", DRAIN_S))).run()
    except MarinaError as error:
        _log.error("not started: %s", error)  # the local stack shows the last event of the log
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
