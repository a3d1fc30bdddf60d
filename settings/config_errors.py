"""Errors of the configuration, each in one line that names the file, the key and the nearest valid name."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from pydantic_core import ErrorDetails

from settings.schema import Settings

TUNED = ".tuned.yaml"
"""The end of the file that `make tune` writes beside a model's own file."""


def choices(group: Path) -> list[str]:
    """Return the names of a group's files, without those that `make tune` wrote."""
    return [path.stem for path in sorted(group.glob("*.yaml")) if not path.name.endswith(TUNED)]


def composition_error(error: Exception, config: Path) -> str:
    """Convert an error of Hydra's composition to a ConfigError."""
    text = str(error)
    if unknown := re.search(r"Could not override '([\w.@/]+)'", text):
        key = unknown[1]
        known = list(Settings.model_fields)
        return f"command line: unknown key {key!r}{_nearest(key, known)}"
    if option := re.search(r"Could not find '(\w+)/([^']+)'", text):
        group, choice = option.groups()
        known = choices(config / group)
        return f"config/{group}/{choice}.yaml: no such file{_nearest(choice, known)}; there are {', '.join(known)}"
    return f"config: {first_line(error)}"


def validation_error(error: ErrorDetails, values: Any, overrides: Sequence[str], config: Path) -> str:
    """Convert the schema's error about a value to a ConfigError."""
    location = [part for part in error["loc"] if not _is_variant(part)]
    key = ".".join(str(part) for part in location)
    source = origin(key, values, overrides, config)
    if error["type"] == "extra_forbidden":
        siblings = list(_valid_names(error))
        return f"{source}: unknown key {key!r}{_nearest(str(location[-1]), siblings, prefix=key.rpartition('.')[0])}"
    if error["type"] == "missing":
        return f"{source}: {key} is missing"
    expected = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    found = "" if isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{source}: {key}: {expected}{found}"


def _is_variant(part: int | str) -> bool:
    """Return True when a part of pydantic's location names a member of a union, not a key."""
    variants = {
        "vision",
        "policy",
        "tensors",
        "adopted",
        "nginx",
        "s3",
        "local",
        "torchserve",
        "ray",
        "NormalizationSettings",
        "ObservationBounds",
        "int",
    }
    return isinstance(part, str) and (part in variants or "[" in part)


def _valid_names(error: ErrorDetails) -> Iterator[str]:
    """Yield the keys that the schema knows in the group of the error."""
    schema: dict[str, Any] = Settings.model_json_schema()
    node = schema
    for part in error["loc"][:-1]:
        node = _descend(node, part, schema)
    yield from node.get("properties", {})


def _descend(node: dict[str, Any], part: int | str, schema: dict[str, Any]) -> dict[str, Any]:
    variants = node.get("discriminator", {}).get("mapping", {})
    child = (
        {"$ref": variants[part]}
        if part in variants
        else node.get("items", {})
        if isinstance(part, int)
        else node.get("properties", {}).get(part, {})
    )
    if "$ref" in child:
        return dict(schema["$defs"][child["$ref"].rsplit("/", 1)[-1]])
    return dict(child)


def origin(key: str, values: Any, overrides: Sequence[str], config: Path) -> str:
    """Return the source of a value: the command line, the machine's own file, or the group's file."""
    if is_typed(key, overrides):
        return "command line"
    local = config / "local" / "default.yaml"
    if local.is_file() and key in set(_keys(yaml.safe_load(local.read_text()) or {})):
        return "config/local/default.yaml"
    group = key.split(".", 1)[0]
    if not (config / group).is_dir():
        return "config/config.yaml"
    choice = next((o.split("=", 1)[1] for o in overrides if o.split("=", 1)[0] == group), None)
    return f"config/{group}/{choice or _default_choice(group, config)}.yaml"


def is_typed(key: str, overrides: Sequence[str]) -> bool:
    """Tell whether the command line names a key, a part of it or what it is a part of."""
    named = [override.lstrip("+~").split("=", 1)[0] for override in overrides]
    return any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in named if "." in name)


def _default_choice(group: str, config: Path) -> str:
    # OmegaConf reads them, because a default may come from the environment.
    defaults = OmegaConf.load(config / "config.yaml").defaults
    found = (str(entry[group]) for entry in defaults if isinstance(entry, DictConfig) and group in entry)
    return next(found, "default")


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted names of all keys in a tree of dicts."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{prefix}{name}"
            yield from _keys(child, f"{prefix}{name}.")


def _nearest(name: str, known: Sequence[str], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    full = f"{prefix}.{close[0]}" if close and prefix else (close[0] if close else "")
    return f"; did you mean {full!r}?" if close else ""


def first_line(error: Exception) -> str:
    """Return the first line of an error's text."""
    return str(error).strip().splitlines()[0]
