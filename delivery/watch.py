"""Watches how a new version answers right after the switch: a worker that dies, or answers that fail."""

import re
import time
from dataclasses import dataclass

import requests

from delivery.record import Served
from engines.interface import Host
from errors import RolloutError
from settings import Settings

POLL_S = 0.25
# Of the gateway's metrics: how many predictions the engine answered, by model and status.
COUNT = re.compile(r'^marina_gateway_upstream_seconds_count\{model="([^"]+)",status="(\w+)"\} (\S+)$', re.MULTILINE)


# The same for one of several hosts; the labels stand in the order of their names.
NODE_COUNT = re.compile(
    r'^marina_gateway_node_calls_total\{model="([^"]+)",node="([^"]+)",status="(\w+)"\} (\S+)$', re.MULTILINE
)


@dataclass(frozen=True)
class Counts:
    """Predictions of one model since the gateway started."""

    answered: int = 0
    failed: int = 0

    def since(self, before: "Counts") -> "Counts":
        """What came after `before`; nothing where the gateway was restarted between."""
        return Counts(max(0, self.answered - before.answered), max(0, self.failed - before.failed))

    @property
    def share(self) -> float:
        """Failed answers of all."""
        return self.failed / self.answered if self.answered else 0.0


def counts(settings: Settings, model: str, node: str) -> Counts:
    """What the gateway has counted for a model, on this node if there are several; nothing without a gateway to ask."""
    try:
        text = requests.get(f"{settings.gateway.url}/metrics", timeout=5).text
    except requests.RequestException:
        return Counts()
    if settings.engine.nodes:
        calls = NODE_COUNT.findall(text)
        lines = [(status, number) for name, on, status, number in calls if (name, on) == (model, node)]
    else:
        lines = [(status, number) for name, status, number in COUNT.findall(text) if name == model]
    found = [(status, int(float(number))) for status, number in lines]
    return Counts(sum(n for _, n in found), sum(n for status, n in found if status == "lost" or status[0] == "5"))


def watch(engine: Host, settings: Settings, model: str, new: Served, share_before: float) -> Counts:
    """Look at the default version for `rollout.watch_s`; returns what it answered.

    Raises RolloutError when a worker is lost, or when more answers fail than `rollout.max_error_share` allows and
    twice the share before the switch explains.
    """
    limits = settings.rollout
    node = engine.node.name
    start, seen = counts(settings, model, node), Counts()
    deadline = time.monotonic() + limits.watch_s
    while True:
        seen = counts(settings, model, node).since(start)
        if seen.failed >= limits.min_errors and seen.share > max(limits.max_error_share, 2 * share_before):
            raise RolloutError(f"{seen.failed} of its first {seen.answered} answers failed")
        found = engine.find(model, new.version)
        if found is None or found.ready_workers < new.initial_workers:
            ready = found.ready_workers if found else 0
            raise RolloutError(f"{ready} of its {new.initial_workers} workers are left")
        if time.monotonic() >= deadline:
            return seen
        time.sleep(POLL_S)
