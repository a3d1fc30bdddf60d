"""The limits of a model's card, checked before anything is sent on; the worker checks the same ones again."""

from gateway.card import Card
from gateway.forms import JSON, Payload
from handlers import limits


def check(payload: Payload, card: Card) -> None:
    """Raise TooLarge when the request holds more instances or pixels than the model takes in one.

    Of a model without a card only single pictures are looked at: what its JSON means is known to its handler alone.
    """
    found = limits.of(card)
    if payload.content_type == JSON and found.kind is None:
        return
    limits.check(found, payload.content if payload.content_type == JSON else payload.data)
