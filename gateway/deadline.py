"""X-Deadline-Ms: how long the client is willing to wait."""

from dataclasses import dataclass

from errors import UnreadableInput

HEADER = b"x-deadline-ms"


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a request may take that says nothing, and the longest that any may ask for, in ms."""

    default_ms: int
    longest_ms: int

    def seconds(self, header: str | None) -> float:
        """Seconds the request may take; the longest allowed when it asks for more.

        Raises UnreadableInput when the header is not a whole number of milliseconds.
        """
        if header is None:
            return self.default_ms / 1000
        if not (header.isascii() and header.isdigit()):
            raise UnreadableInput("X-Deadline-Ms must be a whole number of milliseconds")
        # Python reads no number of thousands of digits; one of more than 18 is longer than any allowed.
        return min(int(header) if len(header) <= 18 else self.longest_ms, self.longest_ms) / 1000
