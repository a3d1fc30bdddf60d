"""The Manager where models are declared to Serve: it describes what is registered, and changes nothing."""

import logging
import threading
import time
from typing import Any, NoReturn

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from engines.ray.manager import Manager
from engines.ray.refusals import Failed, NotAllowed
from engines.ray.table import Table

log = logging.getLogger(__name__)

LOOK_S = 1.0
# Serve may not be there yet, or not any more.
AWAY = (RayError, RayServeException, TimeoutError, Failed)


class ReadOnlyManager(Manager):
    """What the Front follows now, looked at once a second; there is nothing before the first declaration."""

    def start(self) -> None:
        """Look again and again from now on, in a thread."""
        threading.Thread(target=self._watch, name="declared", daemon=True).start()

    def register(self, wanted: object) -> NoReturn:
        """Raises NotAllowed."""
        raise _declared()

    def scale(self, model: str, version: str | None, least: int, most: int) -> NoReturn:
        """Raises NotAllowed."""
        raise _declared()

    def set_default(self, model: str, version: str) -> NoReturn:
        """Raises NotAllowed."""
        raise _declared()

    def remove(self, model: str, version: str | None) -> NoReturn:
        """Raises NotAllowed."""
        raise _declared()

    def report(self) -> dict[Any, Any]:
        """What each version has inside and has counted; nothing before the first declaration."""
        return super().report() if self.table.entries else {}

    def _watch(self) -> None:
        while True:
            try:
                self.table = Table.of_plain(self._cluster.report()["table"])
            except AWAY as error:
                log.debug("no Front tells what is declared: %s", error)
            time.sleep(LOOK_S)


def _declared() -> NotAllowed:
    return NotAllowed("models are declared to Serve here (engine.declared): change the declaration and apply it")
