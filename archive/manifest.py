"""The documents of an archive, read strictly, and the rules of TorchServe's manifest.

`MAR-INF/FIXED.json` holds the manifest without version and registration. It is a file like any other, so checksums and
signature cover it. `MAR-INF/MANIFEST.json`, which TorchServe reads, must be the same document with a version and a
registration added, byte for byte as this module writes it, so nothing else can be hidden in it.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from errors import ArchiveError

MANIFEST = "MAR-INF/MANIFEST.json"
FIXED = "MAR-INF/FIXED.json"
"""The manifest without version and registration; checksums and signature cover it like any other file."""
CARD = "model.json"
GOLDEN = "golden.json"
ADOPTED = "MAR-INF/ADOPTED.json"
"""The manifest with which an adopted archive came, byte for byte; only adopted archives have it."""
ADOPTED_CARD, ADOPTED_GOLDEN = "MAR-INF/model.json", "MAR-INF/golden.json"
"""The documents of an adopted archive, whose own files may have the names of Marina's."""
CHECKSUMS = "checksums.sha256"
SIGNATURE = "signature.ed25519"
UNLISTED = (MANIFEST, CHECKSUMS, SIGNATURE)
"""The files that the list of checksums does not name."""
VERSION_KEY = "modelVersion"
REGISTRATION = ("threads", "coalesce")
"""Registration parameters of a manifest beyond TorchServe's own; each a whole number from 1 to MOST."""
MOST = 4096
NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
# TorchServe compares versions as numbers between dots and refuses others. Short, because file names contain them.
VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,5}")

DEEPEST = 32  # nested objects and lists; images as nested lists need five
_TOKENS = re.compile(r'\\.|["\[\]{}]', re.DOTALL)
Manifest = dict[str, Any]
NONE: Mapping[str, int] = MappingProxyType({})
_ASSIGNED = (VERSION_KEY, *REGISTRATION)


def documents_of(names: Collection[str]) -> tuple[str, str]:
    """Return the names of the model card and of the golden answers in an archive of the files `names`."""
    return (ADOPTED_CARD, ADOPTED_GOLDEN) if ADOPTED in names else (CARD, GOLDEN)


def text_of(content: bytes, name: str) -> str:
    """Return the text of a document. Raises ArchiveError when it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ArchiveError(f"{name} is not UTF-8 text") from None


def object_of(content: bytes, name: str) -> dict[str, Any]:
    """Parse a document that must be one JSON object.

    Raises ArchiveError for anything else, and for duplicate keys, NaN, infinite numbers, numbers of thousands of digits
    and excessive nesting.
    """
    text = text_of(content, name)
    try:
        _check_depth(text)
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number, parse_float=_finite)
        if "\\u" in text:  # half a surrogate pair, which cannot be printed
            json.dumps(document, ensure_ascii=False).encode()
    except ValueError as error:
        # Python's own text names an internal limit.
        words = "it has a number of too many digits" if "digits" in str(error) else str(error)
        raise ArchiveError(f"{name} is not JSON: {words}") from None
    if not isinstance(document, dict):
        raise ArchiveError(f"{name} is not a JSON object")
    return document


def _check_depth(text: str) -> None:
    depth, within_text = 0, False
    for token in _TOKENS.finditer(text):
        if token[0] == '"':
            within_text = not within_text
        elif not within_text:
            depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} objects and lists lie inside each other")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"the key {twice[:80]!r} is duplicated")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not a number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:80]} is beyond all numbers")
    return number


def manifest_bytes(manifest: Mapping[str, object]) -> bytes:
    """Encode a manifest with sorted keys, so that the same content has the same bytes."""
    return (json.dumps(manifest, indent=2, sort_keys=True) + "\n").encode()


def fixed(manifest: Manifest) -> Manifest:
    """Return the part of a manifest that all versions of an archive share."""
    return manifest | {"model": {key: value for key, value in manifest["model"].items() if key not in _ASSIGNED}}


def assigned(manifest: Manifest, version: str, registration: Mapping[str, int] = NONE) -> Manifest:
    """Return the manifest under another version; `registration` replaces the earlier one."""
    common = fixed(manifest)
    return common | {"model": common["model"] | {VERSION_KEY: version, **registration}}


def check_manifest(manifest: Manifest, stands: bytes, covered: bytes, names: set[str]) -> None:
    """Raise ArchiveError for a manifest that does not fit an archive of the files `names`.

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
        raise ArchiveError(f"{MANIFEST} disagrees with {FIXED}, which the checksums cover")


def _check_names(model: Manifest, names: set[str]) -> None:
    # A function of another maker may load what it needs by itself.
    needed = ("modelName", VERSION_KEY, "handler", *(() if ADOPTED in names else ("serializedFile",)))
    for key in needed:
        if not isinstance(model.get(key), str) or not model[key]:
            raise ArchiveError(f"{MANIFEST} has no model.{key}")
    if not NAME.fullmatch(model["modelName"]):
        raise ArchiveError(f"{MANIFEST} has the name {_short(model['modelName'])}; names are of a-z, 0-9 and _")
    check_version(model[VERSION_KEY])
    for key in ("handler", "serializedFile", "configFile"):
        if (name := model.get(key)) is not None and name not in names:
            raise ArchiveError(f"{MANIFEST} names {_short(name)} as {key}, which is not in the archive")


def check_version(version: str) -> None:
    """Raise ArchiveError for a version that TorchServe would refuse."""
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
    """Return a value as one short line; Python refuses to print very long numbers."""
    if type(value) is int and abs(value) > MOST:
        return "a number beyond that"
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
