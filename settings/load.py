"""Compose `config/` with Hydra, add the registration settings that `make tune` found, and check the result.

    config/*.yaml, overrides ──Hydra──▶ ──NAME.tuned.yaml──▶ ──schema──▶ Settings

Tuned settings apply only when a model is registered. An archive is built from the model's own file, so that it is the
same on every machine; the tuned settings belong to the machine on which they were found.
"""

import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from errors import ConfigError
from settings.config_errors import TUNED, choices, composition_error, first_line, origin, validation_error
from settings.schema import AdoptedModel, RegistrationSettings, Settings
from settings.written_text import compose

log = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / os.environ.get("MARINA_CONFIG", "config")
"""The folder of the configuration; MARINA_CONFIG names another one."""
# In the notations of requests and of urllib.
LOOPBACK = ("localhost", "127.0.0.1", "127.0.0.0/8", "::1")
TUNED_GROUP = "request_params"


def load(overrides: Sequence[str] = (), *, config: Path = CONFIG, registering: bool = False) -> Settings:
    """Return the checked settings for one model, engine and store.

    `overrides` are Hydra's: `served_model=cartpole`, `gateway.port=5010`. Relative paths are relative to the project.
    `registering` adds the registration settings that were tuned for the model; the command line overrides them. Raises
    ConfigError with one line that names the file, the key and the valid choices.
    """
    _bypass_proxy_for_loopback()
    composed = _compose(overrides, config)
    if registering and composed.get("rollout", {}).get("tuned", True):
        found = tuned_overrides(str(composed.served_model.model_name), overrides, config)
        composed = _compose([*found, *overrides], config) if found else composed
    try:
        values = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{config / 'config.yaml'}: {first_line(error)}") from None
    try:
        settings = Settings.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        # pydantic reports a misspelt key twice, as unknown and as missing; the first report names the misspelling.
        worst = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        raise ConfigError(validation_error(worst, values, overrides, config)) from None
    model = settings.served_model
    if not isinstance(model, AdoptedModel) and not (ROOT / model.handler).is_file():
        source = origin("served_model.handler", values, overrides, config)
        raise ConfigError(f"{source}: served_model.handler: no file {model.handler!r}")
    return settings


def load_each(overrides: Sequence[str]) -> Iterator[Settings]:
    """Yield the settings of every configured model that is built from a checkpoint, under the same overrides."""
    for name in models():
        loaded = load([f"served_model={name}", *overrides])
        if not isinstance(loaded.served_model, AdoptedModel):
            yield loaded


def temporary(state: Path) -> Path:
    """Return the folder of a stack's sockets and unpacked archives.

    It is outside the state folder, because the path of a Unix socket is limited to 107 bytes. Its name is derived from
    the state folder, so that every program finds it.
    """
    return Path(tempfile.gettempdir()) / f"marina-{hashlib.sha256(str(state).encode()).hexdigest()[:12]}"


# `${temporary:FOLDER}` in config/.
OmegaConf.register_new_resolver("temporary", lambda state: str(temporary(ROOT / state)), replace=True)


def models(config: Path = CONFIG) -> tuple[str, ...]:
    """Return the names of the models that have a file in `config/served_model/`, sorted."""
    return tuple(choices(config / "served_model"))


def tuned_file(model: str, config: Path = CONFIG) -> Path:
    """Return the path of the tuned settings of a model."""
    return config / "served_model" / f"{model}{TUNED}"


def _bypass_proxy_for_loopback() -> None:
    """Exempt this machine's addresses from the environment's proxy, for this process and its children.

    A proxy on another machine cannot reach a loopback address, and some never answer such a request.
    """
    # Some programs read one variable, some the other, so both get the same value.
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
        composed = compose(config, [_added(override) for override in overrides])
    except OverrideParseException as error:
        # Hydra's own text describes its parser.
        given = error.override.removeprefix("++")
        how = "write a setting as NAME=VALUE, and put a value with spaces or signs in its own quotes"
        raise ConfigError(f"command line: {given!r} cannot be read; {how}") from None
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(composition_error(error, config)) from None
    except yaml.YAMLError as error:
        raise ConfigError(f"config: not YAML: {' '.join(str(error).split())}") from None
    except ValueError as error:  # Hydra's, for a group that is a number or null, as in `engine=1`
        raise ConfigError(f"command line: {' '.join(overrides)[:200]}: {first_line(error)}") from None
    with open_dict(composed):
        for name, folder in composed.paths.items():
            composed.paths[name] = str(ROOT / folder)
    return composed


def _added(override: str) -> str:
    """Return an override that may add its key, because the schema decides which keys exist, not one file."""
    key = override.partition("=")[0]
    return f"++{override}" if "." in key and key[0] not in "+~" else override


def tuned_overrides(model: str, given: Sequence[str], config: Path) -> tuple[str, ...]:
    """Return the tuned settings as Hydra overrides, without those that `given` sets; empty when nothing was tuned.

    Raises ConfigError in one line when the file is damaged.
    """
    path = tuned_file(model, config)
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise _damaged(path, "cannot be read") from None
    params = content.get(TUNED_GROUP) if isinstance(content, dict) else None
    if not isinstance(params, dict) or set(content) != {TUNED_GROUP} or not params:
        raise _damaged(path, f"must hold {TUNED_GROUP} and nothing else")
    named = {one.lstrip("+~").partition("=")[0] for one in given}
    _check_tuned(params, path)
    found = {f"served_model.{TUNED_GROUP}.{name}": value for name, value in params.items()}
    used = {name: value for name, value in found.items() if name not in named}
    if used:
        words = ", ".join(f"{name.rpartition('.')[2]} {_text(value)}" for name, value in used.items())
        log.info("%s: tuned settings of %s: %s (rollout.tuned=false ignores them)", model, path.name, words)
    return tuple(f"++{name}={_text(value)}" for name, value in used.items())


def _check_tuned(params: dict[Any, Any], path: Path) -> None:
    """Raise ConfigError for an unknown setting or a wrong value; the file may set only some."""
    some = {"batch_size": 1, "max_batch_delay": 0, "initial_workers": 1}
    try:
        RegistrationSettings.model_validate({**some, **params}, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{TUNED_GROUP}.{name}: {first['msg'].replace('Input should be', 'must be')}") from None


def _text(value: int | None) -> str:
    return "null" if value is None else str(value)


def _damaged(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"config/served_model/{path.name}: {reason}; delete it, or run `make tune` again")
