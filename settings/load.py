"""Composes `config/` with Hydra, checks it against the schema, and words every mistake for the person who made it.

A message names the file, the key and the nearest valid name; Hydra's and pydantic's own name at most two of them.
"""

import difflib
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from errors import ConfigError
from settings import tuned
from settings.schema import Settings

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "config"
# As requests and as urllib write an address that no proxy is for.
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")


def load(overrides: Sequence[str] = (), *, config: Path = CONFIG, registering: bool = False) -> Settings:
    """Settings for one model, engine and store, checked before anything starts.

    `overrides` are Hydra's: `served_model=cartpole`, `gateway.port=5010`. Relative paths are relative to the project.
    Whoever is `registering` a model gets the registration settings that were tuned for it, below the command line's.
    Raises ConfigError with one line that names the file, the key and what is valid.
    """
    _spare_loopback_the_proxy()
    composed = _compose(overrides, config)
    if registering and composed.get("rollout", {}).get("tuned", True):
        found = tuned.overrides(str(composed.served_model.model_name), overrides, config)
        composed = _compose([*found, *overrides], config) if found else composed
    try:
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{config / 'config.yaml'}: {_first_line(error)}") from None
    try:
        settings = Settings.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        # A misspelt key is reported twice, as unknown and as missing; the first of these names the misspelling.
        worst = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise ConfigError(_explain(worst, values, overrides, config)) from None
    if not (ROOT / settings.served_model.handler).is_file():
        origin = _origin("served_model.handler", values, overrides, config)
        raise ConfigError(f"{origin}: served_model.handler: no file {settings.served_model.handler!r}")
    return settings


def load_each(overrides: Sequence[str]) -> Iterator[Settings]:
    """Yield the settings of every configured model, under the same overrides."""
    for name in models():
        yield load([f"served_model={name}", *overrides])


def temporary(state: Path) -> Path:
    """The folder of a stack's sockets and unpacked archives.

    Outside the state folder, because the path of a Unix socket may have 107 bytes only. Its name follows from the
    state folder, so that every program finds it.
    """
    return Path(tempfile.gettempdir()) / f"marina-{hashlib.sha256(str(state).encode()).hexdigest()[:12]}"


# In config/ as ${temporary:FOLDER}.
OmegaConf.register_new_resolver("temporary", lambda state: str(temporary(ROOT / state)), replace=True)


def models(config: Path = CONFIG) -> tuple[str, ...]:
    """Names of the models that have a file in `config/served_model/`, sorted."""
    return tuple(_choices(config / "served_model"))


def _choices(group: Path) -> list[str]:
    """Names of a group's files; what `make tune` wrote beside them is none of its choices."""
    return [path.stem for path in sorted(group.glob("*.yaml")) if not path.name.endswith(tuned.SUFFIX)]


def _spare_loopback_the_proxy() -> None:
    """Have this process and those that it starts speak to this machine without the proxy of the environment.

    A proxy on another machine cannot reach a loopback address, and some keep such a request for ever.
    """
    # Programs read one or the other, so both come to say the same.
    names = ("no_proxy", "NO_PROXY")
    spared = [host for name in names for host in os.environ.get(name, "").split(",") if host]
    for name in names:
        os.environ[name] = "*" if "*" in spared else ",".join(dict.fromkeys([*spared, *LOOPBACK]))


def _compose(overrides: Sequence[str], config: Path) -> DictConfig:
    for override in overrides:
        if re.match(r"[+~]*hydra\b", override):
            given = override.lstrip("+~").partition("=")[0]
            raise ConfigError(f"command line: {given!r} is a setting of Hydra's own launcher, which is not used here")
    try:
        with initialize_config_dir(str(config), version_base="1.3"):
            composed = compose("config", overrides=[_added(override) for override in overrides])
    except OverrideParseException as error:
        # What Hydra says of it are words of its parser.
        given = error.override.removeprefix("++")
        how = "a setting is NAME=VALUE, and a value with spaces or signs stands in quotes of its own"
        raise ConfigError(f"command line: {given!r} cannot be read; {how}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain_composition(error, config)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config: not YAML: {' '.join(str(error).split())}") from None
    with open_dict(composed):
        for name, folder in composed.paths.items():
            composed.paths[name] = str(ROOT / folder)
    return composed


def _added(override: str) -> str:
    """The override as one that may add its key: which keys there are is the schema's to say, not one file's."""
    key = override.partition("=")[0]
    return f"++{override}" if "." in key and key[0] not in "+~" else override


def _explain_composition(error: Exception, config: Path) -> str:
    text = str(error)
    if unknown := re.search(r"Could not override '([\w.@/]+)'", text):
        key = unknown[1]
        known = list(Settings.model_fields)
        return f"command line: unknown key {key!r}{_nearest(key, known)}"
    if option := re.search(r"Could not find '(\w+)/([^']+)'", text):
        group, choice = option.groups()
        known = _choices(config / group)
        return f"config/{group}/{choice}.yaml: no such file{_nearest(choice, known)}; there are {', '.join(known)}"
    return f"config: {_first_line(error)}"


def _explain(error: ErrorDetails, values: Any, overrides: Sequence[str], config: Path) -> str:
    location = [part for part in error["loc"] if not _is_variant(part)]
    key = ".".join(str(part) for part in location)
    origin = _origin(key, values, overrides, config)
    if error["type"] == "extra_forbidden":
        siblings = list(_valid_names(error))
        return f"{origin}: unknown key {key!r}{_nearest(str(location[-1]), siblings, prefix=key.rpartition('.')[0])}"
    if error["type"] == "missing":
        return f"{origin}: {key} is missing"
    expected = error["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
    found = "" if isinstance(error["input"], dict) else f", not {error['input']!r}"
    return f"{origin}: {key}: {expected}{found}"


def _is_variant(part: int | str) -> bool:
    """Whether a part of pydantic's location names a member of a union instead of a key."""
    variants = {"vision", "policy", "nginx", "s3", "local", "torchserve", "ray", "Normalization", "int"}
    return isinstance(part, str) and (part in variants or "[" in part)


def _valid_names(error: ErrorDetails) -> Iterator[str]:
    """Keys that the schema knows in the group that `error` points into."""
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


def _origin(key: str, values: Any, overrides: Sequence[str], config: Path) -> str:
    """Where a value came from: the command line, the machine's own file, or the group's file."""
    named = [override.lstrip("+~").split("=", 1)[0] for override in overrides]
    if any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for name in named if "." in name):
        return "command line"
    local = config / "local" / "default.yaml"
    if local.is_file() and key in set(_keys(yaml.safe_load(local.read_text()) or {})):
        return "config/local/default.yaml"
    group = key.split(".", 1)[0]
    if not (config / group).is_dir():
        return "config/config.yaml"
    choice = next((o.split("=", 1)[1] for o in overrides if o.split("=", 1)[0] == group), None)
    return f"config/{group}/{choice or _default_choice(group, config)}.yaml"


def _default_choice(group: str, config: Path) -> str:
    # By OmegaConf, because a default may come from the environment.
    defaults = OmegaConf.load(config / "config.yaml").defaults
    found = (str(entry[group]) for entry in defaults if isinstance(entry, DictConfig) and group in entry)
    return next(found, "default")


def _keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Dotted names of all keys in a tree of dicts."""
    if isinstance(node, dict):
        for name, child in node.items():
            yield f"{prefix}{name}"
            yield from _keys(child, f"{prefix}{name}.")


def _nearest(name: str, known: Sequence[str], *, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    full = f"{prefix}.{close[0]}" if close and prefix else (close[0] if close else "")
    return f"; did you mean {full!r}?" if close else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
