"""A rollout takes the archive's own version when it is free, otherwise the next."""

import pytest

from delivery.versions import free_version


@pytest.mark.parametrize(
    ("wanted", "taken", "expected"),
    [
        ("1.0", set(), "1.0"),
        ("1.0", {"1.0"}, "1.1"),
        ("1.0", {"1.0", "1.1", "1.3"}, "1.2"),
        ("2", {"2"}, "3"),
        ("1.9", {"1.9"}, "1.10"),
        ("1.0.0", {"1.0.0", "1.0"}, "1.0.1"),
    ],
)
def test_the_next_free_version_raises_the_last_number(wanted: str, taken: set[str], expected: str) -> None:
    assert free_version(wanted, taken) == expected
