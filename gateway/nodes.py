"""Several engine hosts as one engine: each request goes to the one with the fewest outstanding, and to another if lost.

    look ──▶ every node that answers ──▶ merged for the catalog
    predict ──▶ in traffic, has the model, fewest outstanding ──▶ lost? the next

A node is left out when it does not answer, and while it does not serve the versions that may answer (`live`).
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import count

from errors import EngineError, NoWorker, UnknownModel
from gateway.engine import EngineAnswer
from gateway.hooks import PredictionRequest
from gateway.metrics import Metrics
from gateway.node import Node
from gateway.served import ServedModel, ServedVersion

logger = logging.getLogger(__name__)


class Nodes:
    """The engine that stands for all of them."""

    def __init__(self, nodes: Sequence[Node], metrics: Metrics, check_s: float) -> None:
        self._nodes = nodes
        self._metrics = metrics
        self._check_s = check_s
        self._turns = count(1)
        self._checking: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins to ask each node, again and again, whether it is well."""
        self._checking = [asyncio.create_task(self._keep_checking(node)) for node in self._nodes]

    async def close(self) -> None:
        """Ends that."""
        for task in self._checking:
            task.cancel()
        if self._checking:
            await asyncio.wait(self._checking)

    async def predict(self, request: PredictionRequest) -> EngineAnswer:
        """One prediction; a node that does not answer it, or does not know the model, is not the last that is asked."""
        tried: list[Node] = []
        while True:
            node = self._choose(request, tried)
            tried.append(node)
            try:
                return await node.predict(request)
            except (NoWorker, UnknownModel) as error:
                if type(error) is NoWorker:
                    node.leave(error.detail)
                late = asyncio.get_running_loop().time() >= request.deadline
                if late or all(each in tried for each in self._candidates()):
                    raise
            self._metrics.retried(request.model)

    async def look(self) -> Mapping[str, ServedModel]:
        """What the nodes in traffic serve together. Raises EngineError when there is none."""
        known = [node for node in self._nodes if node.in_traffic]
        # One that hangs would hold up the view of all; its own task looks whether it comes back.
        looks = await asyncio.gather(*(node.look() for node in known or self._nodes), return_exceptions=True)
        others = [found for found in looks if isinstance(found, BaseException) and not isinstance(found, EngineError)]
        if others:
            raise others[0]
        models = [node.models for node in self._nodes if node.in_traffic]
        if not models or all(isinstance(found, EngineError) for found in looks):
            raise EngineError("no engine host answers with the versions that it should serve")
        return merged(models)

    def _candidates(self) -> list[Node]:
        # With none in traffic, one that only seemed to be lost may still be there: better asked than refused.
        return [node for node in self._nodes if node.in_traffic] or [node for node in self._nodes if node.right]

    def _choose(self, request: PredictionRequest, tried: Sequence[Node]) -> Node:
        left = [node for node in self._candidates() if node not in tried]
        if not left:
            raise NoWorker("no engine host is ready")
        able = [node for node in left if node.has(request)] or left
        chosen = min(able, key=lambda node: (node.outstanding, node.used))
        chosen.used = next(self._turns)
        return chosen

    async def _keep_checking(self, node: Node) -> None:
        while True:
            try:
                await node.check()
            except (EngineError, LookupError, TypeError, ValueError):
                pass  # no answer, or a description that cannot be read: it stays out, as the catalog tells
            except Exception:
                # The edge of a task: whatever one look breaks on, the node must be looked at again.
                logger.exception("node_check_failed", extra={"fields": {"node": node.name}})
            await asyncio.sleep(self._check_s)


def merged(found: Iterable[Mapping[str, ServedModel]]) -> dict[str, ServedModel]:
    """Several hosts' models as one's: their workers and queues added up; the first host says which is the default."""
    together: dict[str, ServedModel] = {}
    for models in found:
        for name, model in models.items():
            known = together.get(name)
            together[name] = model if known is None else ServedModel(name, _versions(known, model))
    return together


def _versions(known: ServedModel, more: ServedModel) -> tuple[ServedVersion, ...]:
    others = {version.version: version for version in more.versions}
    added = tuple(_added(version, others.pop(version.version, None)) for version in known.versions)
    return (*added, *(replace(version, default=False) for version in others.values()))


def _added(one: ServedVersion, other: ServedVersion | None) -> ServedVersion:
    if other is None:
        return one
    return replace(
        one,
        workers_ready=one.workers_ready + other.workers_ready,
        workers=one.workers + other.workers,
        min_workers=one.min_workers + other.min_workers,
        max_workers=one.max_workers + other.max_workers,
        pending=one.pending + other.pending,
        capacity=one.capacity + other.capacity,
        card=one.card or other.card,
    )
