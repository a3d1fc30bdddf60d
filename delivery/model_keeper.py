"""The keeper: restores recorded models after an engine has lost them or has missed a rollout.

`python -m delivery restore` does this once; `python -m delivery keep` and the stack's keeper repeat it.
"""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Event

import engines
from delivery.hosts import is_behind, serves_exactly
from delivery.rollout import RolloutResult, restore_models
from deployments.serving import DeployedVersion, ServingRecord
from engines.torchserve.engine_client import EngineClient
from errors import MarinaError
from files import explained
from settings import Settings
from settings.load import temporary

log = logging.getLogger(__name__)

INTERVAL_S = 2.0
AWAY_S = 0.5  # while the engine does not answer: it comes back without its models
HEARTBEAT = "keeper"  # a file that is touched at each turn: a container's health check reads its age
RETRY_S = 15.0  # pause of a model that could not be restored


class ModelKeeper:
    """Restores recorded models that do not serve, one turn at a time.

    A single engine is checked every two seconds, more often while it is away, and a model is restored when it is not
    registered at all: another version belongs to a rollout under way, or to one that was killed. Several hosts are
    checked every `engine.check_s` seconds, and a host that serves another version than the recorded one has missed a
    rollout.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._logged: str | None = None
        self._unwritten: str | None = None
        self._paused: dict[str, float] = {}

    @property
    def pause_s(self) -> float:
        """The seconds until the next turn."""
        if self._settings.engine.nodes:
            return self._settings.engine.check_s
        return INTERVAL_S if self._logged is None else AWAY_S

    def turn(self) -> None:
        """Check once, and restore what is missing. A problem is logged when it begins, not on every turn."""
        problem, unexpected = None, None
        self._beat()
        try:
            for result in self._restored():
                on = f" on {result.where}" if result.where else ""
                log.info("%s %s serves again%s", result.model, result.version, on)
        except MarinaError as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001  # a fault of Marina must not end what brings models back
            problem, unexpected = repr(error), error
        if problem is not None and problem != self._logged:
            log.warning("nothing is restored yet: %s", problem, exc_info=unexpected)
        self._logged = problem

    def _beat(self) -> None:
        """Touch the heartbeat: in the state folder, or in the temporary one while that cannot be written."""
        unwritten = None
        for heartbeat, mode in zip(heartbeats(self._settings), (0o777, 0o700), strict=True):
            try:
                with explained(heartbeat):
                    heartbeat.parent.mkdir(mode, parents=True, exist_ok=True)
                    heartbeat.touch()
                break
            except MarinaError as error:
                unwritten = unwritten or str(error)
        if unwritten is not None and unwritten != self._unwritten:
            log.warning("the state folder cannot be written; models are restored all the same: %s", unwritten)
        self._unwritten = unwritten

    def _restored(self) -> Iterator[RolloutResult]:
        """Restore each model that is behind, unless a rollout of it is under way.

        One that could not be restored is left alone for a while.
        """
        now = time.monotonic()
        behind = [model for model in models_behind(self._settings) if self._paused.get(model, 0.0) <= now]
        for model, outcome in restore_models(behind, self._settings, wait=False):
            if isinstance(outcome, MarinaError):
                self._paused[model] = time.monotonic() + RETRY_S
            elif outcome is not None:
                yield outcome


def heartbeats(settings: Settings) -> tuple[Path, Path]:
    """Return the heartbeat of the state folder, and the one that counts while that folder cannot be written."""
    state = Path(settings.paths.state)
    return state / HEARTBEAT, temporary(state) / HEARTBEAT


def keep(settings: Settings, stop: Event, interval_s: float | None = None) -> None:
    """Take turns until `stop` is set, every `interval_s` seconds or as often as the settings say."""
    keeper = ModelKeeper(settings)
    while not stop.is_set():
        keeper.turn()
        stop.wait(interval_s or keeper.pause_s)


def models_behind(settings: Settings) -> Iterator[str]:
    """Yield each recorded model that a host does not serve as recorded. Of several hosts, those that answer count.

    Raises EngineError when a single engine does not answer.
    """
    recorded = ServingRecord.of(settings).all()
    several, exact = bool(settings.engine.nodes), serves_exactly(settings)
    with ExitStack() as opened:
        hosts = [opened.enter_context(engines.connect(settings, node)) for node in settings.engine.hosts]
        answering = [engine for engine in hosts if not several or engine.answers()]
        for model, history in recorded.items():
            if any(_is_behind(engine, model, history.serving, several=several, exact=exact) for engine in answering):
                yield model


def _is_behind(engine: EngineClient, model: str, serving: DeployedVersion, *, several: bool, exact: bool) -> bool:
    try:
        return is_behind(engine, model, serving, exact=exact)
    except MarinaError:
        if not several:
            raise
        # The host stopped answering meanwhile; the next turn handles it.
        return False
