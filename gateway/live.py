"""Which versions of a model may answer now, as delivery writes it: one small JSON list a model.

A node that was away may have another version than the rest, or none: this tells it apart, and it is left out until it
is right.
"""

import logging
from collections.abc import Mapping
from pathlib import Path

import orjson

from gateway.logs import event
from gateway.served import ServedModel

_log = logging.getLogger(__name__)

Live = Mapping[str, frozenset[str]]


def read_live(folder: Path) -> Live:
    """Versions by model; empty where nothing was rolled out yet. A file that cannot be read is left out."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        try:
            found[path.stem] = frozenset(map(str, orjson.loads(path.read_bytes())))
        except (OSError, TypeError, ValueError):
            event(_log, logging.ERROR, "live_versions_unreadable", file=path.name)
    return found


def together(one: Live, other: Live) -> Live:
    """What may answer by either: a look at a node takes a moment, in which a rollout may have gone on."""
    both = one.keys() & other.keys()
    return {model: one[model] | other[model] for model in both}


def serves(models: Mapping[str, ServedModel], live: Live, *, workers: bool) -> bool:
    """Whether each model answers in a version that may; with `workers`, it must have one for each model, too."""
    for name, versions in live.items():
        model = models.get(name)
        if model is None or model.default.version not in versions:
            return False
        if workers and not model.default.workers_ready:
            return False
    return True
