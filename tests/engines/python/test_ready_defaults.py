"""Which version answers while another one is declared."""

from collections.abc import Mapping

import pytest

from engines.python.registry import ModelRegistry, RegisteredVersion, Registration, RunningWorkers, with_ready_defaults

READY = RunningWorkers(2, complete=True)
SOME = RunningWorkers(1, complete=False)


def made(version: str) -> Registration:
    return Registration("digits", version, f"digits-{version}.mar", "0" * 64, 8, 5, 120)


OLDER, OLD, NEW = (made(version).application for version in ("0.9", "1.0", "1.1"))


def declared(*versions: str) -> ModelRegistry:
    """The first version is the default."""
    table = ModelRegistry()
    for version in versions:
        table = table.put(RegisteredVersion(made(version), 2, 2))
    return table


@pytest.mark.parametrize(
    ("running", "answers"),
    [
        ({OLD: READY}, "1.0"),
        ({OLD: READY, NEW: SOME}, "1.0"),
        ({OLD: SOME, NEW: SOME}, "1.0"),
        ({OLD: READY, NEW: READY}, "1.1"),
        ({NEW: READY}, "1.1"),
    ],
)
def test_ready_default_is_the_previous_version_until_workers_are_complete(
    running: Mapping[str, RunningWorkers], answers: str
) -> None:
    found = with_ready_defaults(declared("1.1", "1.0"), {"digits": "1.0"}, running)
    assert found.defaults == {"digits": answers}
    assert [entry.registration.version for entry in found.entries] == ["1.1", "1.0"]


def test_ready_default_that_answers_stays_when_workers_are_lost() -> None:
    table = declared("1.1", "1.0")
    assert with_ready_defaults(table, {"digits": "1.1"}, {OLD: READY, NEW: SOME}) == table


def test_ready_default_after_a_restart_is_a_version_with_workers() -> None:
    table = declared("1.1", "1.0")
    assert with_ready_defaults(table, {}, {OLD: READY}).defaults == {"digits": "1.0"}
    assert with_ready_defaults(table, {}, {OLD: READY, NEW: READY}) == table


@pytest.mark.parametrize("before", [{}, {"digits": "0.9"}, {"digits": "1.0"}])
def test_ready_default_without_any_workers_is_the_declared_version(before: Mapping[str, str]) -> None:
    table = declared("1.1", "1.0")
    assert with_ready_defaults(table, before, {}) == table
    assert with_ready_defaults(declared("1.1"), before, {OLDER: READY, OLD: READY}) == declared("1.1")
