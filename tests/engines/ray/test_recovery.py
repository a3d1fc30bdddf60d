"""What a Manager that was killed half-way has left is told from what is recorded_registry."""

from typing import Any

import pytest

from engines.python.registry import FRONTEND, ModelRegistry, RegisteredVersion, Registration
from engines.ray.recovery import Leftovers, find_leftovers, recorded_registry, recorded_secret


def entry(version: str, least: int = 1, most: int = 1) -> RegisteredVersion:
    return RegisteredVersion(
        Registration("digits", version, "http://store/digits.mar", "0" * 64, 8, 5, 120), least, most
    )


def front(table: ModelRegistry, status: str = "RUNNING") -> dict[str, Any]:
    config = {"user_config": {"secret": "5ec2e7", "table": table.as_json()}}
    return {FRONTEND: {"status": status, "deployments": {"Front": {"deployment_config": config}}}}


def running(entry: RegisteredVersion, **config: Any) -> dict[str, Any]:
    given = config or {"num_replicas": entry.min_workers}
    return {entry.registration.application: {"deployments": {"Worker": {"deployment_config": given}}}}


@pytest.mark.parametrize("status", ["RUNNING", "DEPLOYING", "UNHEALTHY", "DEPLOY_FAILED"])
def test_recorded_registry_is_read_in_any_status(status: str) -> None:
    table = ModelRegistry().put(entry("1.0")).put(entry("1.1")).with_default("digits", "1.1")
    assert recorded_registry(front(table, status)) == table
    assert recorded_secret(front(table, status)) == "5ec2e7"


@pytest.mark.parametrize(
    "found", [{}, {FRONTEND: {}}, {FRONTEND: {"deployments": {"Front": {"deployment_config": {}}}}}]
)
def test_recorded_registry_without_a_frontend_is_empty(found: dict[str, Any]) -> None:
    assert recorded_registry(found) == ModelRegistry()
    assert recorded_secret(found) is None


def test_leftovers_are_none_where_versions_have_their_workers() -> None:
    fixed, following = entry("1.0", 2, 2), entry("1.1", 1, 3)
    scaling = {"min_replicas": 1, "max_replicas": 3}
    found = running(fixed) | running(following, num_replicas=None, autoscaling_config=scaling)
    assert find_leftovers(found, ModelRegistry().put(fixed).put(following)) == Leftovers((), ())


def test_leftovers_are_unregistered_versions_only() -> None:
    left = entry("1.1")
    found = running(entry("1.0")) | running(left) | {"default": {}, FRONTEND: {}}
    assert find_leftovers(found, ModelRegistry().put(entry("1.0"))) == Leftovers((left.registration.application,), ())


def test_leftovers_include_a_version_scaled_to_zero() -> None:
    scaled_down = entry("1.0", 0, 0)
    assert find_leftovers(running(entry("1.0")), ModelRegistry().put(scaled_down)).unregistered == (
        scaled_down.registration.application,
    )


@pytest.mark.parametrize("found", [{}, running(entry("1.0"), num_replicas=4)])
def test_leftovers_include_a_wrong_number_of_workers(found: dict[str, Any]) -> None:
    assert find_leftovers(found, ModelRegistry().put(entry("1.0"))) == Leftovers((), (entry("1.0"),))
