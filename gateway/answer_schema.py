"""The schema of an answer, read from its example, so that the OpenAPI document needs no second description of it."""

from collections.abc import Mapping, Sequence
from typing import Any

Schema = dict[str, Any]


class Keyed(dict[str, Any]):
    """An object of an example whose keys are data, such as labels, and whose values have one form."""


def schema_of(example: Any) -> Schema:
    """Return the JSON schema of answers like `example`.

    A key may be missing from other answers, and an answer may have more. A null says nothing about the type of others.
    """
    match example:
        case bool():
            return {"type": "boolean"}
        case int():
            return {"type": "integer"}
        case float():
            return {"type": "number"}
        case str():
            return {"type": "string"}
        case Keyed():
            return {"type": "object", "additionalProperties": _any_of(list(example.values()))}
        case Mapping():
            return {"type": "object", "properties": {key: schema_of(value) for key, value in example.items()}}
        case Sequence():
            return {"type": "array", "items": _any_of(example)}
        case _:
            return {}


def _any_of(examples: Sequence[Any]) -> Schema:
    schemas: list[Schema] = []
    for schema in map(schema_of, examples):
        if schema not in schemas:
            schemas.append(schema)
    if len(schemas) > 1:
        return {"anyOf": schemas}
    return schemas[0] if schemas else {}
