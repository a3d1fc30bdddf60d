"""The figures that normalise observations: from the settings, or from a file that holds numbers and nothing else.

.npz  arrays `mean`, `var`, `epsilon` and `clip`, as numpy.savez writes them; of a part, `PART.mean` and so on
.json an object of the same names, or one of such objects by part
"""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from errors import BuildError
from settings.schema.served_model import Normalization

PARTS = dict[str, Normalization]


def read_normalization(given: str | Normalization | PARTS | None, root: Path) -> Normalization | PARTS | None:
    """The figures, whatever form they are given in. Raises BuildError, also for a file that only unpickling reads."""
    if not isinstance(given, str):
        return given
    path = root / Path(given).expanduser()
    try:
        values = _npz(path) if path.suffix == ".npz" else _json(path)
        if "mean" in values:
            return Normalization.model_validate(values)
        return {key: Normalization.model_validate(part) for key, part in values.items()}
    except OSError as error:
        raise BuildError(f"served_model.observation.normalization: {path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise BuildError(f"served_model.observation.normalization: {path}: {at}: {first['msg']}") from None
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise BuildError(
            f"served_model.observation.normalization: {path}: {error}; a pickled VecNormalize is not read, because "
            "that runs code from it: save its numbers with numpy.savez(FILE, mean=env.obs_rms.mean, "
            "var=env.obs_rms.var, epsilon=env.epsilon, clip=env.clip_obs)"
        ) from None


def spec(figures: Normalization, size: int, where: str) -> dict[str, Any]:
    """For handlers.policy_encoders. Raises BuildError when there are not `size` of them, or one is no use."""
    for name, values in (("mean", figures.mean), ("var", figures.var)):
        if len(values) != size:
            raise BuildError(f"{where}: {name} has {len(values)} numbers, the observation {size}")
        if not np.isfinite(values).all():
            raise BuildError(f"{where}: {name} holds a number that is not finite")
    if min(figures.var) < 0 or min(figures.var) + figures.epsilon <= 0:
        raise BuildError(f"{where}: var + epsilon must be positive")
    return {"mean": figures.mean, "var": figures.var, "epsilon": figures.epsilon, "clip": figures.clip}


def _json(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_bytes())
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _npz(path: Path) -> dict[str, Any]:
    # Opened here: numpy leaves a file open that it cannot read.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        values: dict[str, Any] = {}
        for name in arrays.files:
            part, _, key = name.rpartition(".")
            entry = values.setdefault(part, {}) if part else values
            array = np.asarray(arrays[name], dtype=np.float64)
            entry[key] = array.ravel().tolist() if key in ("mean", "var") else float(array)
    return values
