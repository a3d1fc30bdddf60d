"""The model card: everything that gateway, worker and tests read about a model, from settings and checkpoint."""

import importlib.metadata
from pathlib import Path
from typing import Any

from commands import VERSION
from serialize.checkpoints import sha256_of
from serialize.command import command_of
from serialize.formats import Format
from serialize.library_parity import Agreement
from serialize.loaded_model import LoadedModel
from settings.schema import PolicyModel, VisionModel

SCHEMA_VERSION = 1
STAMPED = {"threads", "coalesce"}  # belong to a registration: an upload stamps them into the manifest
PACKAGES = ("torch", "torchvision", "onnxruntime")


def model_card(
    model: VisionModel | PolicyModel,
    source: LoadedModel,
    form: Format,
    details: dict[str, Any],
    checkpoint: Path | None,
) -> dict[str, Any]:
    """The content of model.json. It holds no version: an upload may stamp another one into the manifest."""
    return {
        "schema_version": SCHEMA_VERSION,
        "model_name": model.model_name,
        "kind": model.kind,
        "description": model.description,
        "weights": "trained" if checkpoint else "random",
        "artifact": {"format": form.name, "runtime": form.runtime, "file": form.file, **details},
        "limits": model.limits.model_dump(mode="json"),
        "request_params": model.request_params.model_dump(mode="json", exclude=STAMPED),
        **({} if model.task is None else {"task": model.task}),
        **source.card,
        "provenance": _provenance(model, source, checkpoint),
    }


def reference_card(library: Agreement | str | None, requests: int, tolerance: float) -> dict[str, Any]:
    """Return what the card says of the gate that the answers passed; `library` as in serialize.build.Built."""
    if isinstance(library, Agreement):
        return library.card()
    versions = {package: importlib.metadata.version(package) for package in ("torch", "torchvision")}
    words = "own reconstruction in torch {torch}" if library else "torchvision {torchvision} and torch {torch}"
    return {"reference": words.format(**versions), "requests": requests, "tolerance": tolerance}


def _provenance(model: VisionModel | PolicyModel, source: LoadedModel, checkpoint: Path | None) -> dict[str, Any]:
    """Where the weights come from and what made the archive of them; nothing that names this machine or moment."""
    return {
        "checkpoint": checkpoint.name if checkpoint else None,
        "checkpoint_key": source.checkpoint_key,
        "checkpoint_sha256": sha256_of(checkpoint) if checkpoint else None,
        **{package: importlib.metadata.version(package) for package in PACKAGES},
        "kit": VERSION,
        "command": command_of(model),
    }
