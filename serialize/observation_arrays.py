"""Figures of observations: from the settings, or from a file that holds numbers and nothing else.

.npz  one array a figure, as numpy.savez writes them; of a part, `PART.NAME`
.json an object of figures by name, or one of such objects by part
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

Figures = TypeVar("Figures", bound=SettingsGroup)


def read_figures(
    given: str | Figures | dict[str, Figures] | None, kind: type[Figures], where: str, advice: str
) -> Figures | dict[str, Figures] | None:
    """Return the figures, whatever form they are given in: one set, or one a part.

    `where` names the setting in errors, `advice` says how such a file is made. Raises BuildError, also for a file that
    only unpickling reads.
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
            entry[key] = array.ravel().tolist() if array.ndim else float(array)
    return values
