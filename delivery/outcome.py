"""How a rollout ended well."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """Which version serves now, and whether anything had to change for it.

    `plan` is filled by a dry run, which changes nothing; `observed` names a version that was tried out only; `where`
    says on which of several engine hosts.
    """

    model: str
    version: str
    changed: bool
    golden: int = 0
    plan: tuple[str, ...] = ()
    observed: str | None = None
    where: str = ""
