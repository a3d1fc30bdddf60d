"""The model card `model.json`: the facts about a model that gateway, worker and tests read.

Its provenance holds the command that builds the archive again, the same on every machine. That is not the command line
of this build, whose ports and folders change nothing in an archive. It names the model's file in `config/served_model/`
and each value that differs from that file.
"""

import importlib.metadata
import json
import shlex
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from commands import VERSION
from errors import MarinaError
from serialize.checkpoints import is_url, sha256_of
from serialize.formats import Format
from serialize.library_parity import LibraryAgreement
from serialize.loaded_model import LoadedModel
from serialize.preprocessing_preset import resolve
from settings.load import CONFIG
from settings.schema import BuiltModel

SCHEMA_VERSION = 1
STAMPED = {"threads", "coalesce"}  # part of a registration: an upload writes them into the manifest
PACKAGES = ("torch", "torchvision", "onnxruntime")
GROUP = "served_model"
FILE_SETTINGS = (".checkpoint", ".handler", ".network", ".normalization", ".bounds", ".pictures", ".samples")


def model_card(
    model: BuiltModel,
    loaded: LoadedModel,
    form: Format,
    details: dict[str, Any],
    checkpoint: Path | None,
) -> dict[str, Any]:
    """Return the content of model.json. It has no version, because an upload may assign another one."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model_name": model.model_name,
        "kind": model.kind,
        "description": model.description,
        "weights": "trained" if checkpoint else "random",
        "artifact": {"format": form.name, "runtime": form.runtime, "file": form.file, **details, **_single(loaded)},
        "limits": model.limits.model_dump(mode="json"),
        "request_params": model.request_params.model_dump(mode="json", exclude=STAMPED),
        **({} if model.task is None else {"task": model.task}),
        **loaded.card,
        "provenance": _provenance(model, loaded, checkpoint),
    }


def _single(loaded: LoadedModel) -> dict[str, Any]:
    return {"single": True} if loaded.single else {}


def parity_card(
    library: LibraryAgreement | str | None, framework: tuple[str, ...], requests: int, tolerance: float
) -> dict[str, Any]:
    """Return the card's entry about the parity gate; `library` as in serialize.build.BuildResult."""
    if isinstance(library, LibraryAgreement):
        return library.card()
    named = [f"{package} {importlib.metadata.version(package)}" for package in framework]
    reference = f"own reconstruction in {named[-1]}" if library else " and ".join(named)
    return {"reference": reference, "requests": requests, "tolerance": tolerance}


def build_command(model: BuiltModel) -> str:
    """Return `python -m serialize served_model=NAME` and, sorted, each value that differs from NAME's own file."""
    usual = dict(_leaves(_from_file(model)))
    overrides = [
        f"{key}={json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}"
        for key, value in sorted(_leaves(model.model_dump(mode="json")))
        if usual.get(key, ...) != value
    ]
    return shlex.join(["python", "-m", "serialize", f"{GROUP}={model.model_name}", *overrides])


def _provenance(model: BuiltModel, loaded: LoadedModel, checkpoint: Path | None) -> dict[str, Any]:
    """Return the origin of the weights and of the archive, without anything that names this machine or the time."""
    return {
        "checkpoint": checkpoint.name if checkpoint else None,
        "checkpoint_key": loaded.checkpoint_key,
        "checkpoint_sha256": sha256_of(checkpoint) if checkpoint else None,
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "kit": VERSION,
        "command": build_command(model),
    }


def _from_file(model: BuiltModel) -> dict[str, Any]:
    """Return the values of the model's own file; {} for a model without one."""
    path = CONFIG / GROUP / f"{model.model_name}.yaml"
    try:
        values = yaml.safe_load(path.read_text())
        # Strict, as the settings are read. Hydra would fill in only folders.
        return resolve(type(model).model_validate_json(json.dumps(values), strict=True)).model_dump(mode="json")
    except (OSError, ValueError, yaml.YAMLError, MarinaError):
        return {}


def _leaves(node: Any, key: str = GROUP) -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and values, without the folders of files and without the secret parts of URLs."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, f"{key}.{name}")
    elif isinstance(node, str) and is_url(node):
        scheme, _, rest = node.partition("://")
        yield key, f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
    elif isinstance(node, str) and key.endswith(FILE_SETTINGS):
        yield key, PurePosixPath(node).name
    else:
        yield key, node
