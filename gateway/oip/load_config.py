"""The parameter `config` of a load: a model configuration in Triton's JSON, of which the batch settings apply.

max_batch_size                                  batch_size
dynamic_batching.max_queue_delay_microseconds   max_batch_delay, in ms
instance_group[].count                          initial_workers
"""

from collections.abc import Mapping
from typing import Any

import orjson

from errors import UnreadableInput

# These say what a model is, and no load changes them; a client that sends a configuration back sends them, too.
_DESCRIBING = frozenset({"name", "platform", "backend", "input", "output", "parameters"})


def registration_of(parameters: Mapping[str, Any]) -> dict[str, int]:
    """Return the settings of a registration that the parameters of a load change.

    Raises UnreadableInput for another parameter, and for a key of the configuration that a load does not apply.
    """
    for name in parameters:
        if name != "config":
            raise UnreadableInput(
                f"the parameter {name[:80]!r} is not read: a model is loaded from the archive that was built, and only "
                "the parameter config may change its batch settings"
            )
    config = parameters.get("config")
    return {} if config is None else _settings(_parsed(config))


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
    # The engine waits whole milliseconds.
    delay_us = _number("max_queue_delay_microseconds", entry["max_queue_delay_microseconds"])
    return {"max_batch_delay": max(1, round(delay_us / 1000))}


def _workers(value: Any) -> int:
    groups = [_object("instance_group", each) for each in (value if isinstance(value, list) else [value])]
    for group in groups:
        for key in group:
            if key not in ("name", "count"):
                raise _refused(f"instance_group.{key}")
    return sum(_number("instance_group.count", group.get("count", 1)) for group in groups)


def _parsed(config: Any) -> Mapping[str, Any]:
    try:
        return _object("config", orjson.loads(config) if isinstance(config, str) else config)
    except orjson.JSONDecodeError as error:
        raise UnreadableInput(f"the parameter config is not valid JSON: {error.msg} (at {error.pos})") from None


def _object(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise UnreadableInput(f"config: {name} must be an object")
    return value


def _number(name: str, value: Any) -> int:
    # In the JSON of protobuf, 64-bit integers are text.
    text = str(value)
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and int(text)):
        raise UnreadableInput(f"config: {name} must be a whole number from 1 to 999999999")
    return int(text)


def _refused(key: str) -> UnreadableInput:
    return UnreadableInput(
        f"config: {key[:80]} is not applied by a load; max_batch_size, dynamic_batching.max_queue_delay_microseconds "
        "and instance_group.count are"
    )
