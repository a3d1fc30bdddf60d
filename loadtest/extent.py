"""How long a round is: so many requests, or so many seconds."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Extent:
    """Exactly one of the two is set."""

    requests: int | None = None
    seconds: float | None = None

    def __str__(self) -> str:
        return f"{self.requests} requests" if self.seconds is None else f"{self.seconds:g} s"
