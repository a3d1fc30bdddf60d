"""Recovers the registry from Serve's controller, which outlives the manager and its own restarts.

A killed manager leaves one of three things, and the registry that the Frontends were given decides about each:

    workers of a version that is not registered      ──▶ they end: no client knows the version
    another number of workers than registered        ──▶ the registered number
    a registered version without its application     ──▶ it is started again
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.python.registry import FRONTEND, ModelRegistry, RegisteredVersion, is_ours

Applications = Mapping[str, Mapping[str, Any]]
"""Serve's details of its applications, by name."""


@dataclass(frozen=True)
class Leftovers:
    """Applications to end, by name, and versions that do not have their workers."""

    unregistered: tuple[str, ...]
    without_workers: tuple[RegisteredVersion, ...]


def recorded_registry(applications: Applications) -> ModelRegistry:
    """Return the registry of the last change, whether or not a Frontend runs; an empty one without any change."""
    values = _frontend_config(applications).get("table")
    return ModelRegistry() if values is None else ModelRegistry.from_json(values)


def recorded_secret(applications: Applications) -> str | None:
    """Return the secret of the stack that runs the Frontends; None where there are none."""
    secret = _frontend_config(applications).get("secret")
    return None if secret is None else str(secret)


def find_leftovers(applications: Applications, registry: ModelRegistry) -> Leftovers:
    """Return the differences between the applications and the registry."""
    wanted = {entry.registration.application: entry for entry in registry.entries if entry.max_workers}
    ours = [name for name in applications if is_ours(name)]
    return Leftovers(
        tuple(name for name in ours if name not in wanted),
        tuple(entry for name, entry in wanted.items() if _workers(applications.get(name, {})) != _registered(entry)),
    )


def _frontend_config(applications: Applications) -> Mapping[str, Any]:
    return _config(applications.get(FRONTEND, {}), "Front").get("user_config") or {}


def _workers(application: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the minimum and maximum of an application's workers; None where there is no application."""
    config = _config(application, "Worker")
    scaling = config.get("autoscaling_config")
    if scaling is not None:
        return scaling["min_replicas"], scaling["max_replicas"]
    number = config.get("num_replicas")
    return None if number is None else (number, number)


def _registered(entry: RegisteredVersion) -> tuple[int, int]:
    return entry.min_workers, max(entry.min_workers, entry.max_workers)


def _config(application: Mapping[str, Any], deployment: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = application.get("deployments", {}).get(deployment, {}).get("deployment_config", {})
    return found
