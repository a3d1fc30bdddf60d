"""TorchServe's manifest: what the signature covers of it, and what a publication assigns.

`MAR-INF/FIXED.json` holds the manifest without version and registration. It is a file like any other, so checksums and
signature cover it. `MAR-INF/MANIFEST.json`, which TorchServe reads, must be that with a version and a registration
added, byte for byte as it is written here: it has room for nothing else.
"""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from archive.model import CARD, FIXED, MANIFEST, MOST, NAME, REGISTRATION, VERSION, VERSION_KEY
from errors import ArchiveError

Manifest = dict[str, Any]
NONE: Mapping[str, int] = MappingProxyType({})
_ASSIGNED = (VERSION_KEY, *REGISTRATION)


def manifest_bytes(manifest: Mapping[str, object]) -> bytes:
    """Return the manifest as it stands in an archive: sorted keys, so that the same content has the same bytes."""
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def fixed(manifest: Manifest) -> Manifest:
    """Return what every version of an archive has in common."""
    return manifest | {"model": {key: value for key, value in manifest["model"].items() if key not in _ASSIGNED}}


def assigned(manifest: Manifest, version: str, registration: Mapping[str, int] = NONE) -> Manifest:
    """Return the manifest under another version, `registration` in place of an earlier one."""
    common = fixed(manifest)
    return common | {"model": common["model"] | {VERSION_KEY: version, **registration}}


def check_manifest(manifest: Manifest, stands: bytes, covered: bytes, names: set[str]) -> None:
    """Raise ArchiveError for a manifest that an archive with the files `names` cannot have.

    `stands` are its bytes, `covered` those of `MAR-INF/FIXED.json`.
    """
    model = manifest.get("model")
    if not isinstance(model, dict):
        raise ArchiveError(f"{MANIFEST} has no model")
    _check_names(model, names)
    for key in REGISTRATION:
        if (number := model.get(key)) is not None and (type(number) is not int or not 1 <= number <= MOST):
            raise ArchiveError(f"{MANIFEST} has {_short(number)} as model.{key}, it must be a number from 1 to {MOST}")
    if manifest_bytes(manifest) != stands:
        raise ArchiveError(f"{MANIFEST} is not written as this kit writes it")
    if manifest_bytes(fixed(manifest)) != covered:
        raise ArchiveError(f"{MANIFEST} says something else than {FIXED}, which the checksums cover")


def _check_names(model: Manifest, names: set[str]) -> None:
    for key in ("modelName", VERSION_KEY, "handler", "serializedFile"):
        if not isinstance(model.get(key), str) or not model[key]:
            raise ArchiveError(f"{MANIFEST} has no model.{key}")
    if not NAME.fullmatch(model["modelName"]):
        raise ArchiveError(f"{MANIFEST} has the name {_short(model['modelName'])}; names are of a-z, 0-9 and _")
    check_version(model[VERSION_KEY])
    for key in ("handler", "serializedFile", "configFile"):
        if (name := model.get(key)) is not None and name not in names:
            raise ArchiveError(f"{MANIFEST} names {_short(name)} as {key}, which is not in the archive")


def check_version(version: str) -> None:
    """Raise ArchiveError for what TorchServe would not take as a version."""
    if not VERSION.fullmatch(version):
        raise ArchiveError(f"{_short(version)} is not a version: numbers with dots between them are")


def check_card(card: Manifest, manifest: Manifest, schema_version: int) -> None:
    """Raise ArchiveError for a card of another model, or of another schema."""
    if card.get("schema_version") != schema_version:
        found = _short(card.get("schema_version"))
        raise ArchiveError(f"{CARD} has schema_version {found}, this kit reads {schema_version}")
    if card.get("model_name") != manifest["model"]["modelName"]:
        described = _short(card.get("model_name"))
        raise ArchiveError(f"{CARD} describes {described}, {MANIFEST} {manifest['model']['modelName']!r}")


def _short(value: object) -> str:
    """One short line, whatever stands in a stranger's archive; numbers may be longer than Python likes to print."""
    if type(value) is int and abs(value) > MOST:
        return "a number beyond that"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
