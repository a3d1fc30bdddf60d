"""Version numbers: the archive's own when it is free, otherwise the next."""

from collections.abc import Collection

from engines.described import Version


def free_version(wanted: str, taken: Collection[str]) -> str:
    """`wanted`, or with its last number raised until nobody has it: 1.0, 1.1, 1.2, ..."""
    head, _, last = wanted.rpartition(".")
    number = int(last)
    while (version := f"{head}.{number}" if head else str(number)) in taken:
        number += 1
    return version


def names(versions: Collection[Version]) -> set[str]:
    """The version numbers of registered versions."""
    return {version.version for version in versions}
