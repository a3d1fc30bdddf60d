"""The model that answers a route whose path names none: the only one that is served and fits."""

from collections.abc import Callable

from errors import UnknownModel
from gateway.catalog import Choice
from gateway.http.context import Headers
from gateway.served_models import ServedVersion, Snapshot

_LISTED = 5


class OnlyModel:
    """Chooses the only served model whose default version fits; `setting` decides where several do."""

    def __init__(self, fits: Callable[[ServedVersion], bool], setting: str) -> None:
        self._fits = fits
        self._setting = setting
        self._snapshot: Snapshot | None = None
        self._names: list[str] = []

    def __call__(self, snapshot: Snapshot, headers: Headers = (), name: str | None = None) -> str:
        """Return its name, whatever the request says. Raises UnknownModel when no model fits, or several do."""
        del headers, name
        if snapshot is not self._snapshot:
            self._names = sorted(name for name, model in snapshot.models.items() if self._fits(model.default))
            self._snapshot = snapshot
        if len(self._names) == 1:
            return self._names[0]
        if not self._names:
            raise UnknownModel(f"no model that is served answers on this route; {self._setting} names one")
        several = ", ".join(self._names[:_LISTED]) + (", ..." if len(self._names) > _LISTED else "")
        raise UnknownModel(f"several models could answer on this route ({several}): set {self._setting} to one of them")


def named_or_only(model: str | None) -> Choice:
    """Return the choice of `model`, or without one of the only model that is served."""
    if model is not None:
        return lambda snapshot, headers, name: model
    return OnlyModel(lambda version: True, "gateway.dialects.model")
