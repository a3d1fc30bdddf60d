"""Checkpoints that are a snapshot folder of Hugging Face, of an image model that transformers itself has.

    config.json                 the architecture with its numbers, and the names of the classes
    preprocessor_config.json    the pre-processing; serialize.preprocessing_preset reads it
    model.safetensors           the weights

No code of the folder runs, and nothing is unpickled.
"""

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from errors import BuildError
from serialize.checkpoints import CONFIG, SNAPSHOT_WEIGHTS
from serialize.state_dict import check_finite, load_tensors

INSTALL = "pip install -r requirements-transformers.txt"
FORMS = {"ForImageClassification": "classifier", "ForSemanticSegmentation": "segmenter"}
"""The form of network by the end of its architecture's name."""


def is_snapshot(checkpoint: Path) -> bool:
    """Return true for the weights of a snapshot folder."""
    return checkpoint.name in SNAPSHOT_WEIGHTS and (checkpoint.parent / CONFIG).is_file()


def snapshot_spec(checkpoint: Path, form: str) -> dict[str, Any]:
    """Return the specification of the network that a snapshot's config.json describes.

    Raises BuildError for one that is not of this form, or that needs code of its own.
    """
    path = checkpoint.parent / CONFIG
    config = read_config(path)
    architecture = str((config.get("architectures") or ["none"])[0])
    found = next((form for end, form in FORMS.items() if re.fullmatch(rf"[A-Za-z]\w*{end}", architecture)), None)
    if found is None:
        raise BuildError(f"{path}: architecture {architecture} is none of {', '.join(f'...{end}' for end in FORMS)}")
    if found != form:
        raise BuildError(f"{path}: {architecture} is a {found}, and the task needs a {form}; see served_model.task")
    transformers = _transformers()
    if not hasattr(transformers, architecture) or config.get("model_type") not in transformers.CONFIG_MAPPING:
        own = "; code of the folder never runs" if "auto_map" in config else ""
        raise BuildError(f"{path}: transformers {transformers.__version__} has no {architecture}{own}")
    return {"type": "transformers", "architecture": architecture, "config": config}


def read_snapshot(checkpoint: Path, spec: dict[str, Any]) -> nn.Module:
    """Return the network of `spec` with the weights of the snapshot. Raises BuildError where they do not fit it."""
    transformers = _transformers()
    state = load_tensors(checkpoint, checkpoint)
    check_finite(state, str(checkpoint))
    config = transformers.CONFIG_MAPPING[spec["config"]["model_type"]].from_dict(spec["config"])
    # The library knows how names of older snapshots are written today.
    network, report = getattr(transformers, spec["architecture"]).from_pretrained(
        None, config=config, state_dict=state, dtype=torch.float32, output_loading_info=True
    )
    wrong = {key: sorted(map(str, report.get(key, ()))) for key in ("missing_keys", "mismatched_keys")}
    for key, names in wrong.items():
        if names:
            what = key.removesuffix("_keys")
            raise BuildError(f"{checkpoint}: {what}: {', '.join(names[:3])}; download the whole snapshot again")
    loaded: nn.Module = network.eval()
    return loaded


def snapshot_labels(folder: Path) -> list[str]:
    """Return the names of the classes in the order of the outputs. Raises ValueError for a config.json without them."""
    names = read_config(folder / CONFIG).get("id2label") or {}
    if sorted(names) != sorted(str(number) for number in range(len(names))):
        raise ValueError(f"{CONFIG}: id2label does not name every number up to the last")
    return [str(names[str(number)]) for number in range(len(names))]


def read_config(path: Path) -> dict[str, Any]:
    """Return the content of a config.json. Raises BuildError where it is none."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BuildError(f"{path}: cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise BuildError(f"{path}: is not an object")
    return found


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError:
        raise BuildError(f"served_model.checkpoint: a snapshot folder needs transformers: {INSTALL}") from None
    return transformers
