"""How a rollout ended well."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Which version serves now, and whether anything had to change for it.

    `plan` is filled by a dry run, which changes nothing; `where` says on which of several engine hosts.
    """

    model: str
    version: str
    changed: bool
    golden: int = 0
    plan: tuple[str, ...] = ()
    where: str = ""
