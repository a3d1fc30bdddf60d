"""The paths of the general prediction routes."""

from functools import lru_cache


@lru_cache(maxsize=1024)
def parameters(path: str) -> dict[str, str] | None:
    """What a general route's path names; None for every other path."""
    if not (path.startswith("/models/") and path.endswith("/predict")):
        return None
    match path.split("/"):
        case ["", "models", model, "predict"] if model:
            return {"model": model}
        case ["", "models", model, "versions", version, "predict"] if model and version:
            return {"model": model, "version": version}
    return None
