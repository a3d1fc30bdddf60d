"""The parameter `config` of a load: a model configuration in Triton's JSON, of which the batch settings apply.

max_batch_size                                  batch_size
dynamic_batching.max_queue_delay_microseconds   max_batch_delay, in ms
instance_group[].count                          initial_workers
"""

from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import ValidationError

from errors import UnreadableInput
from settings.schema import RegistrationSettings

# These say what a model is, and no load changes them; a client that sends a configuration back sends them, too.
_DESCRIBING = frozenset({"name", "platform", "backend", "input", "output", "parameters"})
# The keys in errors about a setting.
_KEYS: Mapping[int | str, str] = {
    "batch_size": "max_batch_size",
    "max_batch_delay": "max_queue_delay_microseconds",
    "initial_workers": "instance_group",
}


def registration_of(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return the settings of a registration that the parameters of a load change.

    Raises UnreadableInput for another parameter, for a key of the configuration that a load does not apply, and for a
    value that the settings do not allow.
    """
    for name in parameters:
        if name != "config":
            raise UnreadableInput(
                f"the parameter {name[:80]!r} is not read: a model is loaded from the archive that was built, and only "
                "the parameter config may change its batch settings"
            )
    config = parameters.get("config")
    return {} if config is None else _allowed(_settings(_parsed(config)))


def _settings(config: Mapping[str, Any]) -> dict[str, int]:
    found: dict[str, int] = {}
    for key, value in config.items():
        if key == "max_batch_size":
            found |= {} if str(value) == "0" else {"batch_size": _number(key, value)}
        elif key == "dynamic_batching":
            found |= _delay(value)
        elif key == "instance_group":
            found["initial_workers"] = _workers(value)
        elif key not in _DESCRIBING:
            raise _refused(key)
    return found


def _delay(value: Any) -> dict[str, int]:
    entry = _object("dynamic_batching", value)
    for key in entry:
        if key != "max_queue_delay_microseconds":
            raise _refused(f"dynamic_batching.{key}")
    if not entry:
        return {}
    delay_us = _number("max_queue_delay_microseconds", entry["max_queue_delay_microseconds"], least=0)
    # The engine waits whole milliseconds; a short delay is not none.
    return {"max_batch_delay": max(min(1, delay_us), round(delay_us / 1000))}


def _workers(value: Any) -> int:
    groups = [_object("instance_group", each) for each in (value if isinstance(value, list) else [value])]
    for group in groups:
        for key in group:
            if key not in ("name", "count"):
                raise _refused(f"instance_group.{key}")
    return sum(_number("instance_group.count", group.get("count", 1)) for group in groups)


def _allowed(found: dict[str, int]) -> dict[str, int]:
    """Return the settings. Raises UnreadableInput, which names the value, for one that their schema does not allow."""
    try:
        RegistrationSettings.model_validate({"batch_size": 1, "max_batch_delay": 0, "initial_workers": 1} | found)
    except ValidationError as error:
        first = error.errors()[0]
        name = first["loc"][0]
        raise UnreadableInput(
            f"config: {_KEYS[name]} gives {name}={first['input']}: {first['msg'].replace('Input should', 'it must')}"
        ) from None
    return found


def _parsed(config: Any) -> Mapping[str, Any]:
    try:
        return _object("config", orjson.loads(config) if isinstance(config, str) else config)
    except orjson.JSONDecodeError as error:
        raise UnreadableInput(f"the parameter config is not valid JSON: {error.msg} (at {error.pos})") from None


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableInput(f"config: {name} must be an object")
    return value


def _number(name: str, value: Any, least: int = 1) -> int:
    # In the JSON of protobuf, 64-bit integers are text.
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text) >= least):
        raise UnreadableInput(f"config: {name} must be a whole number from {least} to 999999999")
    return int(text)


def _refused(key: str) -> UnreadableInput:
    return UnreadableInput(
        f"config: {key[:80]} is not applied by a load; max_batch_size, dynamic_batching.max_queue_delay_microseconds "
        "and instance_group.count are"
    )
