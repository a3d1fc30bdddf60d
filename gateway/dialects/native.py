"""The paths of predictions: which model and version each names, and the template of its route."""

from dataclasses import dataclass
from functools import lru_cache


@dataclass(frozen=True, slots=True)
class Path:
    """A path's model, its version if it names one, and its route's template."""

    model: str
    version: str | None
    route: str

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters by name, as a router gives them to an endpoint."""
        return {"model": self.model} if self.version is None else {"model": self.model, "version": self.version}


@lru_cache(maxsize=1024)
def prediction(path: str) -> Path | None:
    """Return what a path of the general prediction routes names; None for every other path."""
    return _found(path, "/models", "predict")


@lru_cache(maxsize=1024)
def inference(path: str) -> Path | None:
    """Return what a path of the Open Inference Protocol's inference routes names; None for every other path."""
    return _found(path, "/v2/models", "infer")


def _found(path: str, above: str, verb: str) -> Path | None:
    if not (path.startswith(f"{above}/") and path.endswith(f"/{verb}")) or "%" in path or "?" in path:
        return None
    match path[len(above) + 1 : -len(verb) - 1].split("/"):
        case [model] if model:
            return Path(model, None, f"{above}/{{model}}/{verb}")
        case [model, "versions", version] if model and version:
            return Path(model, version, f"{above}/{{model}}/versions/{{version}}/{verb}")
    return None
