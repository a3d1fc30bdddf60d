"""`served_model.labels`: class names from the settings, from torchvision, or from the files of a training.

torchvision/WEIGHTS.ENTRY   the names that torchvision keeps for published weights
names.txt                   one name a line
index_to_name.json          {"0": "cat", ...} or {"0": ["n02123045", "cat"], ...}, as TorchServe's handlers read it
FOLDER/                     id2label of its config.json, where it is a snapshot folder of Hugging Face
train/                      the sorted names of its folders, as torchvision's ImageFolder numbers them
"""

import json
from pathlib import Path
from typing import Any

from errors import BuildError
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.checkpoints import CONFIG, ROOT
from serialize.network_spec import TORCHVISION
from serialize.snapshot import snapshot_labels

KEY = "served_model.labels"


def resolve_labels(labels: list[str] | str | None) -> list[str]:
    """Return the labels of a list or of a source; [] for None. Raises BuildError for a source without names."""
    if labels is None or isinstance(labels, list):
        return labels or []
    if labels.startswith(TORCHVISION):
        return unambiguous(_of_torchvision(labels))
    path = ROOT / Path(labels).expanduser()
    try:
        found = _of_folder(path) if path.is_dir() else _of_file(path)
    except OSError as error:
        raise BuildError(
            f"{KEY}: {labels}: {error.strerror}; write a list, torchvision/WEIGHTS.ENTRY, a text file, an "
            "index_to_name.json or a folder of classes"
        ) from None
    except ValueError as error:
        raise BuildError(f"{KEY}: {labels}: {error}") from None
    if not found:
        raise BuildError(f"{KEY}: {labels}: names no class")
    return unambiguous(found)


def unambiguous(names: list[str]) -> list[str]:
    """Append its number to each repeated name (ImageNet has two cranes), because answers are keyed by name."""
    return [name if names.count(name) == 1 else f"{name} ({number})" for number, name in enumerate(names)]


def _of_torchvision(labels: str) -> list[str]:
    ensure_torchvision_ops()
    from torchvision.models import get_weight

    try:
        categories = get_weight(labels.removeprefix(TORCHVISION)).meta["categories"]
    except (ValueError, KeyError) as error:
        raise BuildError(f"{KEY}: {labels}: {error}") from None
    return [str(category) for category in categories]


def _of_folder(path: Path) -> list[str]:
    if (path / CONFIG).is_file():
        return snapshot_labels(path)
    return sorted(each.name for each in path.iterdir() if each.is_dir())


def _of_file(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix != ".json":
        return [line.strip() for line in text.splitlines() if line.strip()]
    given: Any = json.loads(text)
    numbers = {str(number) for number in range(len(given))} if isinstance(given, dict) else None
    if numbers is None or set(given) != numbers:
        raise ValueError('is not {"0": name, "1": name, ...} with every number up to the last')
    found = [given[str(number)] for number in range(len(given))]
    # ImageNet's file has WordNet's number in front of the name.
    return [str(each[-1]) if isinstance(each, list) and each else str(each) for each in found]
