"""How many bytes of request bodies the gateway holds at once, in whatever form they come, and no more than that."""

from errors import OverCapacity
from settings.schema import Gateway


class Receiving:
    """Bytes of bodies, from their first one until their request is answered."""

    __slots__ = ("held", "limit")

    def __init__(self, limit: int) -> None:
        self.held = 0
        self.limit = limit

    def fits(self, size: int) -> bool:
        """Whether a body of this size may still come."""
        return self.held + size <= self.limit

    def take(self, size: int) -> bool:
        """Counts bytes that came; False, and nothing is counted, when they are too many."""
        held = self.held + size
        if held > self.limit:
            return False
        self.held = held
        return True

    def give_back(self, size: int) -> None:
        """Counts bytes no longer."""
        self.held -= size


def receiving_for(gateway: Gateway) -> Receiving:
    """Count bodies up to the share of the limit that each process has."""
    return Receiving(gateway.max_receiving_bytes)


def full() -> OverCapacity:
    """The refusal. The rest of the body is not read, so that the connection must end with it."""
    headers = {"retry-after": "1", "connection": "close"}
    return OverCapacity(
        "the gateway holds as many request bodies as it may; send this one again later", headers=headers
    )
