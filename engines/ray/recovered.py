"""What Serve's controller tells of what was registered before: it outlives the Manager, and its own restarts.

A Manager that was killed half-way leaves one of three things, and the table that the Front was given decides on each:

    workers of a version that is not in the table      ──▶ they go: nobody was told that it is registered
    another number of workers than the table has       ──▶ as many as it has
    a version of the table without its application     ──▶ it is started again
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.ray.table import FRONT, Entry, Table, is_ours

Applications = Mapping[str, Mapping[str, Any]]
"""Serve's details of its applications, by name."""


@dataclass(frozen=True)
class Amiss:
    """Applications to stop, by name, and versions whose workers are not those of the table."""

    strangers: tuple[str, ...]
    entries: tuple[Entry, ...]


def registered(applications: Applications) -> Table:
    """The table of the last change, whether or not a Front runs to tell it; empty where there was none."""
    plain = _told_front(applications).get("table")
    return Table() if plain is None else Table.of_plain(plain)


def owner(applications: Applications) -> str | None:
    """The secret of the stack whose Front this is; None where there is none."""
    secret = _told_front(applications).get("secret")
    return None if secret is None else str(secret)


def amiss(applications: Applications, table: Table) -> Amiss:
    """What does not go with the table."""
    wanted = {entry.registration.application: entry for entry in table.entries if entry.max_workers}
    ours = [name for name in applications if is_ours(name)]
    return Amiss(
        tuple(name for name in ours if name not in wanted),
        tuple(entry for name, entry in wanted.items() if _workers(applications.get(name, {})) != _asked_for(entry)),
    )


def _told_front(applications: Applications) -> Mapping[str, Any]:
    return _config(applications.get(FRONT, {}), "Front").get("user_config") or {}


def _workers(application: Mapping[str, Any]) -> tuple[int, int] | None:
    """The least and the most that an application was given; None where it is not there."""
    config = _config(application, "Worker")
    scaling = config.get("autoscaling_config")
    if scaling is not None:
        return scaling["min_replicas"], scaling["max_replicas"]
    number = config.get("num_replicas")
    return None if number is None else (number, number)


def _asked_for(entry: Entry) -> tuple[int, int]:
    return entry.min_workers, max(entry.min_workers, entry.max_workers)


def _config(application: Mapping[str, Any], deployment: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = application.get("deployments", {}).get(deployment, {}).get("deployment_config", {})
    return found
