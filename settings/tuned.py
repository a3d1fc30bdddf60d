"""Registration settings that `make tune` found: `config/served_model/NAME.tuned.yaml`, beside the model's own file.

They are used when a model is registered and at no other time: an archive is built from the model's own file, so that it
is the same on every machine, while what was tuned belongs to the machine it was tuned on.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from errors import ConfigError
from settings.schema import RequestParams

SUFFIX = ".tuned.yaml"
GROUP = "request_params"
log = logging.getLogger(__name__)


def file_of(model: str, config: Path) -> Path:
    """Where the tuned settings of a model lie."""
    return config / "served_model" / f"{model}{SUFFIX}"


def overrides(model: str, given: Sequence[str], config: Path) -> tuple[str, ...]:
    """The tuned settings as Hydra overrides, without those that `given` names itself; empty when nothing was tuned.

    Raises ConfigError in one line when the file is damaged.
    """
    path = file_of(model, config)
    try:
        content: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        raise _damaged(path, "cannot be read") from None
    params = content.get(GROUP) if isinstance(content, dict) else None
    if not isinstance(params, dict) or set(content) != {GROUP} or not params:
        raise _damaged(path, f"must hold {GROUP} and nothing else")
    named = {one.lstrip("+~").partition("=")[0] for one in given}
    _check(params, path)
    found = {f"served_model.{GROUP}.{name}": value for name, value in params.items()}
    used = {name: value for name, value in found.items() if name not in named}
    if used:
        words = ", ".join(f"{name.rpartition('.')[2]} {_said(value)}" for name, value in used.items())
        log.info("%s: tuned settings of %s: %s (rollout.tuned=false leaves them aside)", model, path.name, words)
    return tuple(f"++{name}={_said(value)}" for name, value in used.items())


def _check(params: dict[Any, Any], path: Path) -> None:
    """Raise ConfigError for what is no setting of a registration, or no value for it; a file may name a few only."""
    some = {"batch_size": 1, "max_batch_delay": 0, "initial_workers": 1}
    try:
        RequestParams.model_validate({**some, **params}, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise _damaged(path, f"{GROUP}.{name}: {first['msg'].replace('Input should be', 'must be')}") from None


def _said(value: int | None) -> str:
    return "null" if value is None else str(value)


def _damaged(path: Path, reason: str) -> ConfigError:
    return ConfigError(f"config/served_model/{path.name}: {reason}; delete it, or run `make tune` again")
