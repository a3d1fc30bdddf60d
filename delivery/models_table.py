"""The table of `make models`: every version that the engine hosts have registered."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from archive import open_archive
from delivery.publish import version_order
from delivery.stores import Store
from delivery.stores.store import archive_file_name
from deployments.traffic import TrafficFile, TrafficSplit
from engines.engine_profile import ModelVersion
from engines.torchserve.engine_client import EngineClient
from errors import MarinaError

HEAD = ("node", "model", "version", "serves", "weights", "workers", "queue", "batch_size", "max_batch_delay", "age")


def models_table(engines: Sequence[EngineClient], store: Store, traffic: TrafficFile, now: datetime) -> str:
    """Return one line for each registered version; `weights` is read from its archive in the store.

    With several hosts, each line begins with the name of its host, and a host that is away has a line, too. While a
    version is on trial, `serves` shows the share of the requests that each version answers.
    """
    splits = traffic.all()
    several = len(engines) > 1
    rows: list[tuple[str, ...]] = [HEAD]
    for engine in engines:
        if several and not engine.answers():
            rows.append((engine.node.name, "away", *("-" for _ in HEAD[2:])))
            continue
        rows += [(engine.node.name, *row) for row in _rows(engine, store, splits, now)]
    if len(rows) == 1:
        return "no model is registered; `make upload_model MODEL=name` rolls one out"
    return _aligned(rows if several else [row[1:] for row in rows])


def _rows(
    engine: EngineClient, store: Store, splits: Mapping[str, TrafficSplit], now: datetime
) -> Iterator[tuple[str, ...]]:
    for model in engine.models():
        default = engine.default(model)
        for found in sorted(engine.versions(model), key=lambda one: version_order(one.version)):
            is_default = default is not None and default.version == found.version
            serves = _serves(found, splits.get(model), is_default=is_default)
            yield _row(found, serves=serves, weights=_weights(found, store), now=now)


def _serves(found: ModelVersion, split: TrafficSplit | None, *, is_default: bool) -> str:
    if split is not None and found.version == split.trial:
        return f"{split.weight:.3g}" if split.weight else "shadow"
    if split is not None and found.version == split.stable and split.weight:
        return f"{1 - split.weight:.3g}"
    return "yes" if is_default else "no"


def _row(found: ModelVersion, *, serves: str, weights: str, now: datetime) -> tuple[str, ...]:
    return (
        found.model,
        found.version,
        serves,
        weights,
        f"{found.ready_workers}/{found.min_workers}",
        str(found.pending_requests),
        str(found.batch_size),
        f"{found.max_batch_delay} ms",
        _age(found.started, now),
    )


def _weights(found: ModelVersion, store: Store) -> str:
    try:
        published = found.archive == archive_file_name(found.model, found.version)
        path = store.path(found.archive) if published else None
        if path is None:
            return "?"
        card = open_archive(path).card
        # An adopted archive may have been adopted without golden answers.
        return f"{card['weights']}, golden=none" if card.get("golden") == "none" else str(card["weights"])
    except (MarinaError, KeyError):
        return "?"


def _age(started: str | None, now: datetime) -> str:
    """Return the age of the oldest worker in its largest unit."""
    if started is None:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(started).astimezone(UTC)).total_seconds()))
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
