"""Loading and unloading by name, for whoever is asked to by clients: the gateway, when it is configured to."""

from pathlib import Path

import settings
from delivery.rollout import remove, roll_out


class ModelControl:
    """Rolls the built archives of the configured models out, and takes models away.

    `overrides` are those of the program that is asked, so that both mean the same engine and folders. A model's own
    settings are read anew at each load, as `make upload_model` does.
    """

    def __init__(self, overrides: tuple[str, ...]) -> None:
        self._overrides = tuple(each for each in overrides if not each.startswith("served_model"))

    def names(self) -> tuple[str, ...]:
        """The configured models whose archive has been built."""
        folder = Path(settings.load(self._overrides).paths.archives)
        return tuple(name for name in settings.models() if (folder / f"{name}.mar").is_file())

    def load(self, model: str) -> None:
        """Rolls the model's archive out, and returns when it serves. Raises MarinaError."""
        loaded = settings.load([*self._overrides, f"served_model={model}"], registering=True)
        roll_out(Path(loaded.paths.archives) / f"{model}.mar", loaded)

    def unload(self, model: str) -> None:
        """Drains the model and takes all its versions away; a restart does not bring it back. Raises MarinaError."""
        remove(model, settings.load(self._overrides))
