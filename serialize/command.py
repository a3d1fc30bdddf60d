"""The command that builds an archive again, as its provenance tells it: the same on every machine.

It is not what was typed: ports, folders and the order of words change nothing in an archive. It is the model's file in
`config/served_model/` and what differs from it, whether the command line or this machine's settings say so.
"""

import json
import shlex
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

import yaml

from errors import MarinaError
from serialize.checkpoints import ROOT, is_url
from settings.schema import PolicyModel, VisionModel

GROUP = "served_model"


def command_of(model: VisionModel | PolicyModel) -> str:
    """`python -m serialize served_model=NAME`, and each key that is not as in the file of that name, sorted."""
    usual = dict(_leaves(_from_file(model)))
    words = [
        f"{key}={json.dumps(value, ensure_ascii=False) if not isinstance(value, str) else value}"
        for key, value in sorted(_leaves(model.model_dump(mode="json")))
        if usual.get(key, ...) != value
    ]
    return shlex.join(["python", "-m", "serialize", f"{GROUP}={model.model_name}", *words])


def _from_file(model: VisionModel | PolicyModel) -> dict[str, Any]:
    path = ROOT / "config" / GROUP / f"{model.model_name}.yaml"
    try:
        values = yaml.safe_load(path.read_text())
        # Strict, as the settings are read; what is left open for Hydra to fill in are folders.
        return type(model).model_validate_json(json.dumps(values), strict=True).model_dump(mode="json")
    except (OSError, ValueError, yaml.YAMLError, MarinaError):
        return {}  # a model without a file of its own: all of it is told


def _leaves(node: Any, key: str = GROUP) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values, without the folders of files and without what a URL may keep secret."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield from _leaves(child, f"{key}.{name}")
    elif isinstance(node, str) and is_url(node):
        scheme, _, rest = node.partition("://")
        yield key, f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
    elif isinstance(node, str) and key.endswith((".checkpoint", ".handler", ".normalization", ".bounds", ".pictures")):
        yield key, PurePosixPath(node).name
    else:
        yield key, node
