"""Watches how a new version answers right after the switch: a worker that dies, or answers that fail.

Without the gateway's figures there is no watch: a rollout that cannot read them ends before it changes anything, and a
version that nobody sees any longer gives the traffic back.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from deployments.serving import DeployedVersion
from engines.torchserve.client import EngineClient
from errors import FiguresError, RolloutError
from prometheus import GatewayFigures, Series, samples
from settings import Settings

POLL_S = 0.25
# How many predictions the engine answered, by model and status; the second one by host, where there are several.
CALLS = "marina_gateway_upstream_seconds_count"
HOST_CALLS = "marina_gateway_node_calls_total"
KNOWN_S = 10.0  # the gateway looks at its engines every two seconds


@dataclass(frozen=True)
class Counts:
    """Predictions of one model."""

    answered: int = 0
    failed: int = 0

    @classmethod
    def together(cls, each: Iterable["Counts"]) -> "Counts":
        """The sum over several hosts."""
        found = tuple(each)
        return cls(sum(one.answered for one in found), sum(one.failed for one in found))

    @property
    def share(self) -> float:
        """Failed answers of all."""
        return self.failed / self.answered if self.answered else 0.0

    @property
    def words(self) -> str:
        """What a watch that counted this has seen."""
        if self.answered == 0:
            return "no request came while it was watched, so no answer of it was judged"
        return f"{self.failed} of its first {self.answered} answers failed"


class Watch:
    """The gateway's figures of one model on one engine host, from before a switch on."""

    def __init__(self, settings: Settings, model: str, node: str) -> None:
        self._settings = settings
        self._model = model
        self._node = node
        self._figures: GatewayFigures | None = None
        self._share_before = 0.0

    def begin(self) -> None:
        """Read the figures that `follow` counts from. Raises FiguresError when they cannot be read.

        At the first call a gateway that does not answer is an error at once; later it may be starting anew.
        """
        first, figures = self._figures is None, GatewayFigures(self._settings.gateway)
        deadline = time.monotonic() + KNOWN_S
        while not self._sees(figures, patient=not first and time.monotonic() < deadline):
            if time.monotonic() > deadline:
                named = ", ".join(figures.latest)
                raise FiguresError(
                    f"{named}/metrics names no model {self._model}: the gateway does not see this engine"
                )
            time.sleep(POLL_S)
        self._figures, self._share_before = figures, self._counts(figures.counters).share

    def follow(self, engine: EngineClient, new: DeployedVersion) -> Counts:
        """Look at the default version for `rollout.watch_s`; returns what it answered.

        Raises RolloutError when a worker is lost, or when more answers fail than `rollout.max_error_share` allows and
        twice the share before the switch explains; FiguresError when the figures can no longer be read.
        """
        limits, figures = self._settings.rollout, self._figures
        assert figures is not None
        deadline = time.monotonic() + limits.watch_s
        while True:
            over = time.monotonic() >= deadline
            fresh = figures.look()
            seen = self._counts(figures.growth)
            if seen.failed >= limits.min_errors and seen.share > max(limits.max_error_share, 2 * self._share_before):
                raise RolloutError(f"{seen.failed} of its first {seen.answered} answers failed")
            found = engine.find(self._model, new.version)
            if found is None or found.ready_workers < new.initial_workers:
                ready = found.ready_workers if found else 0
                raise RolloutError(f"{ready} of its {new.initial_workers} workers are left")
            # The watch ends with a look that began after its time and saw something.
            if over and fresh:
                return seen
            time.sleep(POLL_S)

    def _sees(self, figures: GatewayFigures, *, patient: bool) -> bool:
        """Whether the figures can be read and have this model."""
        try:
            # A gateway that was idle looks at its engines only when somebody asks.
            return figures.look() and figures.serves(self._model)
        except FiguresError as error:
            if patient and error.passing:
                return False
            raise FiguresError(f"{error}; rollout.watch_s=0 rolls out without a watch") from None

    def _counts(self, figures: Mapping[Series, float]) -> Counts:
        if self._settings.engine.nodes:
            calls = samples(figures, HOST_CALLS, model=self._model, node=self._node)
        else:
            calls = samples(figures, CALLS, model=self._model)
        # Calls of a version under trial have a status of two words.
        own = [(labels["status"], int(number)) for labels, number in calls if " " not in labels["status"]]
        failed = sum(number for status, number in own if status == "lost" or status[0] == "5")
        return Counts(sum(number for _, number in own), failed)
