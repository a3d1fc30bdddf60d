"""The watch after a switch: a new version that loses a worker or fails too many requests is rolled back.

A rollout that cannot read the gateway's figures ends before it changes anything. A version whose figures can no longer
be read is rolled back, too.
"""

import time

from delivery.gateway_metrics import AnswerCounts
from deployments.serving import DeployedVersion
from engines.torchserve.engine_client import EngineClient
from errors import MetricsError, RolloutError
from prometheus import GatewayMetrics
from settings import Settings

POLL_S = 0.25
KNOWN_S = 10.0  # the gateway surveys its engines every two seconds


class TrafficWatch:
    """The gateway's figures of one model on one engine host, from before the switch on."""

    def __init__(self, settings: Settings, model: str, node: str) -> None:
        self._settings = settings
        self._model = model
        self._node = node if settings.engine.nodes else None
        self._figures: GatewayMetrics | None = None
        self._share_before = 0.0

    def begin(self) -> None:
        """Read the figures from which `follow` counts. Raises MetricsError when they cannot be read.

        At the first call a gateway that does not answer is an error at once; later it may be restarting.
        """
        first, figures = self._figures is None, GatewayMetrics(self._settings.gateway)
        deadline = time.monotonic() + KNOWN_S
        while not self._sees_model(figures, patient=not first and time.monotonic() < deadline):
            if time.monotonic() > deadline:
                gateways = ", ".join(figures.latest)
                raise MetricsError(
                    f"{gateways}/metrics names no model {self._model}: the gateway does not see this engine"
                )
            time.sleep(POLL_S)
        self._figures = figures
        self._share_before = AnswerCounts.of(figures.counters, self._model, self._node).failed_share

    def follow(self, engine: EngineClient, new: DeployedVersion) -> AnswerCounts:
        """Watch the default version for `rollout.watch_s` and return what it answered.

        Raises RolloutError when a worker is lost, or when the share of failed answers exceeds both
        `rollout.max_error_share` and twice the share before the switch; MetricsError when the figures can no longer be
        read.
        """
        limits, figures = self._settings.rollout, self._figures
        assert figures is not None
        deadline = time.monotonic() + limits.watch_s
        while True:
            over = time.monotonic() >= deadline
            fresh = figures.look()
            seen = AnswerCounts.of(figures.growth, self._model, self._node)
            most = max(limits.max_error_share, 2 * self._share_before)
            if seen.failed >= limits.min_errors and seen.failed_share > most:
                raise RolloutError(str(seen))
            check_workers(engine, self._model, new)
            # The last reading must begin after the end of the watch and succeed.
            if over and fresh:
                return seen
            time.sleep(POLL_S)

    def _sees_model(self, figures: GatewayMetrics, *, patient: bool) -> bool:
        """Return True if the figures can be read and name the model."""
        try:
            # An idle gateway surveys its engines only when a request comes, and this is one.
            return figures.look() and figures.serves(self._model)
        except MetricsError as error:
            if patient and error.passing:
                return False
            raise MetricsError(f"{error}; rollout.watch_s=0 rolls out without a watch") from None


def check_workers(engine: EngineClient, model: str, version: DeployedVersion) -> None:
    """Raise RolloutError when a version has fewer ready workers than it was started with."""
    found = engine.find(model, version.version)
    ready = found.ready_workers if found else 0
    if ready < version.initial_workers:
        raise RolloutError(f"{ready} of its {version.initial_workers} workers are left")
