"""Arrays that describe observations: the statistics of VecNormalize, and bounds.

The settings hold them as numbers or name a file, which contains numbers and nothing else:

.npz  one array per name, as numpy.savez writes them; for an observation of several parts, `PART.NAME`
.json an object of numbers by name, or of such objects by part
"""

import json
import zipfile
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import ValidationError

from errors import BuildError
from serialize.checkpoints import ROOT
from settings.schema.fields import SettingsGroup
from settings.schema.served_model import NormalizationSettings

NORMALIZATION = "served_model.observation.normalization"
SAVE_NORMALIZATION = (
    "a pickled VecNormalize is not read, because that runs code from it: save its numbers with "
    "numpy.savez(FILE, mean=env.obs_rms.mean, var=env.obs_rms.var, epsilon=env.epsilon, clip=env.clip_obs)"
)

Arrays = TypeVar("Arrays", bound=SettingsGroup)


def read_arrays(
    given: str | Arrays | dict[str, Arrays] | None, kind: type[Arrays], where: str, advice: str
) -> Arrays | dict[str, Arrays] | None:
    """Return the arrays of a setting, or of the file that it names: one set, or one set per part.

    `where` names the setting in errors, and `advice` says how to write such a file. Raises BuildError, also for a file
    that needs unpickling.
    """
    if not isinstance(given, str):
        return given
    path = ROOT / Path(given).expanduser()
    try:
        values = _npz(path) if path.suffix == ".npz" else _json(path)
        if kind.model_fields.keys() & values.keys():
            return kind.model_validate(values)
        return {key: kind.model_validate(part) for key, part in values.items()}
    except OSError as error:
        raise BuildError(f"{where}: {path}: {error.strerror or error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(str(part) for part in first["loc"])
        raise BuildError(f"{where}: {path}: {at}: {first['msg']}") from None
    except (ValueError, zipfile.BadZipFile, EOFError, KeyError) as error:
        raise BuildError(f"{where}: {path}: {error}; {advice}") from None


def read_normalization(
    given: str | NormalizationSettings | dict[str, NormalizationSettings] | None,
) -> NormalizationSettings | dict[str, NormalizationSettings] | None:
    """Return the statistics that normalise observations as VecNormalize does. Raises BuildError."""
    return read_arrays(given, NormalizationSettings, NORMALIZATION, SAVE_NORMALIZATION)


def normalization_spec(statistics: NormalizationSettings, size: int, where: str) -> dict[str, Any]:
    """Return the specification for handlers.policy_network.

    Raises BuildError if the arrays do not have `size` numbers or cannot normalise.
    """
    for name, values in (("mean", statistics.mean), ("var", statistics.var)):
        if len(values) != size:
            raise BuildError(f"{where}: {name} has {len(values)} numbers, the observation {size}")
        if not np.isfinite(values).all():
            raise BuildError(f"{where}: {name} holds a number that is not finite")
    if min(statistics.var) < 0 or min(statistics.var) + statistics.epsilon <= 0:
        raise BuildError(f"{where}: var + epsilon must be positive")
    return {
        "mean": statistics.mean,
        "var": statistics.var,
        "epsilon": statistics.epsilon,
        "clip": statistics.clip,
    }


def _json(path: Path) -> dict[str, Any]:
    values = json.loads(path.read_bytes())
    if not isinstance(values, dict):
        raise ValueError("not a JSON object")
    return values


def _npz(path: Path) -> dict[str, Any]:
    # numpy would leave an unreadable file open, so this function opens it.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        values: dict[str, Any] = {}
        for name in arrays.files:
            part, _, key = name.rpartition(".")
            entry = values.setdefault(part, {}) if part else values
            array = np.asarray(arrays[name], dtype=np.float64)
            entry[key] = array.ravel().tolist() if array.ndim else float(array)
    return values
