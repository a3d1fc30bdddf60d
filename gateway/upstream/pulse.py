"""The signs of life of one engine host: its answers to pings, surveys and predictions."""

PULSE_S = 0.5
"""Seconds between two pings of a host that is not checked otherwise."""

# A busy host takes some tenths of a second to answer a ping, and goes on answering predictions meanwhile.
SILENCE_S = 1.0

# A host that is only slow, as while its machine is overloaded, answers something within this time.
HANG_S = 3.0


class Pulse:
    """Times by the event loop's clock."""

    __slots__ = ("_asked", "_heard", "_is_refused")

    def __init__(self) -> None:
        self._asked: float | None = None  # time of the first ping that has no answer yet
        self._heard = float("-inf")
        self._is_refused = False

    def asked(self, now: float) -> None:
        """Note that a ping is sent."""
        if self._asked is None:
            self._asked = now

    def heard(self, now: float) -> None:
        """Note that the host has answered anything."""
        self._heard = now

    def pinged(self, now: float, *, answered: bool) -> None:
        """Note the end of a ping."""
        self._is_refused = not answered
        if answered:
            self._asked = None
            self.heard(now)

    def is_lost(self, now: float) -> bool:
        """Return True when the host has refused a ping, or has answered nothing for `SILENCE_S` while one waits."""
        if self._asked is None:
            return False
        is_silent = self._silence(now) > SILENCE_S
        return is_silent or (self._is_refused and self._heard < self._asked)

    def hangs(self, now: float) -> bool:
        """Return True when the host has answered nothing for `HANG_S` while a ping waits."""
        return self._asked is not None and self._silence(now) > HANG_S

    def _silence(self, now: float) -> float:
        assert self._asked is not None
        return now - max(self._asked, self._heard)
