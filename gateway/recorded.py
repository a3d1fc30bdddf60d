"""The models that delivery keeps serving, as `serving.json` records them.

The engine may lack one of them for a while: it has restarted, and delivery is bringing the model back. Clients give up
on 404, so such a model is unavailable (503), and the gateway is not ready.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

from deployments.serving import read_serving
from files import file_mark
from logs import event

_log = logging.getLogger(__name__)


class RecordedModels:
    """The recorded version of each model. The file is read again only when it has been replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._versions: Mapping[str, str] = {}
        self._problem: str | None = None

    def versions(self) -> Mapping[str, str]:
        """Return the recorded version by model; without a readable file, those of the last readable one."""
        try:
            mark = file_mark(self._path)
            if mark != self._seen:
                self._versions = {} if mark is None else read_serving(self._path)
                self._seen = mark
            self._problem = None
        except (OSError, ValueError) as error:
            problem = type(error).__name__
            if problem != self._problem:
                event(_log, logging.ERROR, "record_unreadable", file=str(self._path), reason=problem)
            self._problem = problem
        return self._versions
