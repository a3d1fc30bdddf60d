"""The result of a successful rollout."""

from dataclasses import dataclass

from delivery.watch import Counts


@dataclass(frozen=True)
class Outcome:
    """Which version serves now, and whether anything had to change for it.

    `plan` is filled by a dry run, which changes nothing; `observed` names a version that was tried out only; `where`
    says on which of several engine hosts; `watched` is what the version answered after the switch, None when nobody
    watched.
    """

    model: str
    version: str
    changed: bool
    golden: int = 0
    plan: tuple[str, ...] = ()
    observed: str | None = None
    where: str = ""
    watched: Counts | None = None

    @property
    def remarks(self) -> str:
        """What a reader must know beside the version, for the end of a line; empty when there is nothing."""
        unseen = self.watched is not None and self.watched.answered == 0
        found = [*([self.where] if self.where else []), *(["no request came while it was watched"] if unseen else [])]
        return f" ({'; '.join(found)})" if found else ""
