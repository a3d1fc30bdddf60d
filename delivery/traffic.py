"""Writes which share of the traffic a version under trial gets; every gateway process follows within a second."""

import logging
from pathlib import Path

from archive.workplace import explained, replacing
from settings import Settings
from settings.traffic import Split, Traffic, read, traffic_file

log = logging.getLogger(__name__)

# A gateway looks every quarter of a second; the rest is for what it had chosen just before.
FOLLOWED_S = 1.0


class Splits:
    """The splits of one stack, replaced as a whole at every change; rollouts of several models may write at once."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "Splits":
        """Those in the stack's state folder."""
        return cls(traffic_file(settings))

    def all(self) -> dict[str, Split]:
        """Every split, by model; none when the file is damaged: what it said is over then, and it is written anew."""
        try:
            with explained(self._path):
                return dict(read(self._path).models) if self._path.exists() else {}
        except ValueError:
            log.warning("%s is damaged; every model's traffic goes to its default version", self._path)
            return {}

    def put(self, model: str, split: Split) -> None:
        """Share a model's traffic out."""
        self._change(model, split)

    def clear(self, model: str) -> bool:
        """Give all of a model's traffic to its default version; False when it had all."""
        return model in self.all() and self._change(model, None)

    def _change(self, model: str, split: Split | None) -> bool:
        with replacing(self._path) as replace:
            models = self.all()
            before = models.pop(model, None)
            if split is not None:
                models[model] = split
            replace(Traffic(models=models).model_dump_json(indent=2))
        return before is not None
