"""TorchServe as an engine of the kit.

Each half is imported where it is asked for: a gateway starts without what delivery needs, and the other way round. What
speaks the same two interfaces is this class with facts of its own.
"""

from typing import TYPE_CHECKING

from engines.interface import Facts, Front, Host, MetricNames
from settings.load import ROOT
from settings.schema import Engine as EngineSettings
from settings.schema import Node

if TYPE_CHECKING:
    import aiohttp

    from engines.torchserve.key_ring import KeyPlace

FACTS = Facts(
    title="TorchServe",
    part="torchserve",
    package="ts",
    requirements="requirements-engine.txt",
    worker_program="model_service_worker",
    metrics=MetricNames("ts_inference_requests", "ts_queue_latency_microseconds", "ts_inference_latency_microseconds"),
    change_s=30.0,
    renews_keys=True,
    keeps_failed_fetches=True,
    compares_archives=False,
)


class TorchServeEngine:
    """The hosts of the settings, over the Inference and the Management API."""

    def __init__(self, settings: EngineSettings, facts: Facts = FACTS) -> None:
        self._settings = settings
        self._facts = facts

    @property
    def facts(self) -> Facts:
        """How it differs from others."""
        return self._facts

    def open(self, node: Node | None = None) -> Host:
        """One host for delivery; the first for None. Nothing is asked yet."""
        from engines.torchserve.management import Management

        return Management(self._settings, node or self._settings.hosts[0], self._facts)

    def front(self, node: Node, session: "aiohttp.ClientSession") -> Front:
        """The same for the gateway, over its session."""
        from engines.torchserve.dialect import TorchServeDialect
        from engines.torchserve.key_ring import KeyRing
        from engines.torchserve.reader import ManagementReader

        keys = KeyRing(self._key_place(node), session)
        return Front(TorchServeDialect(), keys, ManagementReader(node, session, keys))

    def _key_place(self, node: Node) -> "KeyPlace":
        """Where a host's keys are, and when they are renewed.

        That is in the last fifth of their life, but not earlier than a minute before its end.
        """
        from engines.torchserve.key_ring import KeyPlace

        margin_s = min(60.0, self._settings.token_expiration_min * 60 / 5)
        file = None if node.key_file is None else ROOT / node.key_file
        return KeyPlace(file, node.management_url, margin_s, node.token, self._facts.renews_keys)
