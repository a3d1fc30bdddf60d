"""The fixed parts of answers and errors, as handlers/card.py and handlers/observations.py word them."""

import json

from edge.network import Policy


def head(policy: Policy) -> str:
    """What stands before the predictions."""
    return f'{{"model":{json.dumps(policy.model)},"version":{json.dumps(policy.version)},"predictions":['


def tail(policy: Policy) -> str:
    """What stands behind them."""
    return '],"weights":"random"}' if policy.weights == "random" else "]}"


def shape(policy: Policy) -> str:
    """What an array of another shape is told."""
    sizes = list(policy.space.shape)
    return f"an observation has shape {sizes}, many have [N, {', '.join(map(str, sizes))}]"
