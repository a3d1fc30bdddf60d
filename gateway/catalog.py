"""The models and versions that the engine serves, refreshed in the background.

    engine ──▶ Survey.look: every model, version and card ──▶ Snapshot ──▶ Catalog.find

A prediction uses the last snapshot and starts the next survey when that snapshot is older than the time to live. A
request waits for a survey only when the snapshot lacks its model. All such requests share one survey, which begins
after they arrived and at least `PAUSE_S` after the previous one. So a flood of unknown names costs the engine no more
than one does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from errors import EngineError, NoWorker, RequestError, UnknownModel
from gateway.http.context import Headers
from gateway.served_models import ServedModel, ServedVersion, Snapshot
from logs import event, log_task_error

_log = logging.getLogger(__name__)

PAUSE_S = 0.25
LOST_POLL_S = 0.2

Look = Callable[[], Awaitable[Mapping[str, ServedModel]]]
Choice = Callable[[Snapshot, Headers, str | None], str]
"""Snapshot, headers of a request, and a name in its path → the model that answers. Raises UnknownModel."""


class Catalog:
    """The gateway's view of what the engine serves."""

    def __init__(
        self,
        look: Look,
        ttl_s: float,
        recorded: Callable[[], Mapping[str, str]] = dict,
        is_lost: Callable[[], bool] = lambda: False,
    ) -> None:
        """Survey by `look` when the last one is older than `ttl_s` seconds.

        `recorded` returns the versions that delivery has recorded. Nobody waits for a survey of a lost engine.
        """
        self._look = look
        self._ttl_s = ttl_s
        self._recorded = recorded
        self._is_lost = is_lost
        self._followers: list[Callable[[Snapshot], None]] = []
        self._snapshot: Snapshot | None = None
        self._began = float("-inf")
        self._finished = float("-inf")
        self._failure: EngineError | None = None
        self._looking: asyncio.Task[None] | None = None
        self._adopted_as: dict[str, str] = {}

    def follow(self, follower: Callable[[Snapshot], None]) -> None:
        """Call `follower` with the result of each survey."""
        self._followers.append(follower)

    async def find(self, name: str, version: str | None = None) -> ServedVersion:
        """Return a version of a model, the default one for None; use an old snapshot while the engine does not answer.

        Raises UnknownModel; NoWorker for a recorded model that the engine has lost, and when the engine does not answer
        and the model was not known before.
        """
        arrived = _now()
        found = self.peek(name, version)
        if found is None:
            found = (await self._since(arrived)).find(name, version)
        if found is None:
            raise self.absent(self._lost_as(name), version)
        if found.model != name:
            self._adopted_as[name] = found.model  # for the time when the engine has lost it
        return found

    async def describe(self, name: str, version: str | None = None) -> ServedModel:
        """Return a model that has this version from a snapshot no older than the time to live, else from a fresh one.

        Raises UnknownModel; NoWorker for a recorded model that the engine has lost, and while the engine does not
        answer.
        """
        arrived = _now()
        for moment in (arrived - self._ttl_s, arrived):
            found = (await self._since(moment)).models.get(name)
            if found is not None and found.version(version) is not None:
                return found
        raise self.absent(name, version)

    async def choose(self, choice: Choice, headers: Headers, name: str | None) -> str:
        """Return the name of the model that `choice` finds; it looks at a fresh snapshot before it finds none.

        Raises UnknownModel as `choice` does; NoWorker while a recorded model is lost, and when the engine does not
        answer.
        """
        arrived = _now()
        found = self.chosen(choice, headers, name)
        if found is not None:
            return found
        snapshot = await self._since(arrived)
        try:
            return choice(snapshot, headers, name)
        except UnknownModel:
            for lost in self.lost():
                raise self.absent(lost, None) from None
            raise

    def chosen(self, choice: Choice, headers: Headers, name: str | None) -> str | None:
        """Return the model that `choice` finds in the last snapshot; None when `choose` would wait."""
        try:
            return None if self._snapshot is None else choice(self._snapshot, headers, name)
        except UnknownModel:
            return None

    def _lost_as(self, name: str) -> str:
        """Return the name here of an adopted model that the engine has lost, else `name`; its card comes last."""
        own = self._adopted_as.get(name, name)
        found = self.known(own, None)
        return own if own in self._recorded() and (found is None or not found.card) else name

    def absent(self, name: str, version: str | None) -> RequestError:
        """Return the error for a model or version that the engine does not have."""
        recorded = self._recorded().get(name)
        if recorded is None or version not in (None, recorded):
            named = f"version {version} of model {name}" if version else f"model {name}"
            return UnknownModel(f"no {named[:200]} is registered")
        return NoWorker(f"model {name} is not registered at the moment; delivery brings its version {recorded} back")

    def denied(self, name: str, version: str | None) -> RequestError:
        """Return the error for a model that the engine has just called unknown, and start a new survey."""
        self.forget()
        return self.absent(name, version)

    def recorded(self) -> Mapping[str, str]:
        """Return the version of each model that delivery has recorded as serving."""
        return self._recorded()

    def is_recorded(self, name: str) -> bool:
        """Return True when delivery keeps this model serving."""
        return name in self._recorded()

    def lost(self) -> dict[str, str]:
        """Return the recorded version of each model that the last survey did not find."""
        models = {} if self._snapshot is None else self._snapshot.models
        return {name: version for name, version in self._recorded().items() if name not in models}

    def peek(self, name: str, version: str | None) -> ServedVersion | None:
        """Return the version without a wait; None when `find` would wait."""
        snapshot = self._snapshot
        found = None if snapshot is None else snapshot.find(name, version)
        if found is not None and snapshot is not None and _now() - snapshot.taken > self._ttl_s:
            self._start_look()
        return found

    def known(self, name: str, version: str | None) -> ServedVersion | None:
        """Return a version from the last snapshot without starting a survey; None when the snapshot lacks it."""
        return None if self._snapshot is None else self._snapshot.find(name, version)

    def glance(self) -> tuple[bool | None, Snapshot | None]:
        """Return whether the engine answered the last survey (None before the first), and the snapshot, at once.

        An old snapshot starts the next survey, so that a caller who polls sees changes.
        """
        if _now() - self._finished > self._ttl_s:
            self._start_look()
        return None if self._finished == float("-inf") else self._failure is None, self._snapshot

    async def current(self) -> Snapshot:
        """Return a snapshot no older than the time to live. Raises NoWorker when the engine does not answer."""
        return await self._since(_now() - self._ttl_s)

    async def fresh(self) -> Snapshot:
        """Return a snapshot that began after this call. Raises NoWorker when the engine does not answer."""
        return await self._since(_now())

    async def soon(self, seconds: float) -> Snapshot:
        """Return a fresh snapshot, or the last one when a survey takes longer than that because the engine is busy.

        Raises NoWorker when the engine does not answer.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self.fresh()
        except TimeoutError:
            if self._snapshot is None or self._failure is not None or self._is_lost():
                raise NoWorker("the engine does not answer") from None
            return self._snapshot

    def forget(self) -> None:
        """Start a new survey, because the engine has just contradicted the snapshot."""
        if self._snapshot is not None:
            self._snapshot = Snapshot(self._snapshot.models, float("-inf"))
            self._start_look()

    async def close(self) -> None:
        """Cancel a survey that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _since(self, moment: float) -> Snapshot:
        """Return the snapshot of the first survey that began no earlier than `moment`."""
        while self._finished < moment:
            # A waiter that is cancelled must not end the survey that others wait for.
            done, _ = await asyncio.wait({self._start_look()}, timeout=LOST_POLL_S)
            if not done and self._is_lost():
                raise NoWorker("the engine does not answer")
        if self._failure is not None or self._snapshot is None:
            raise NoWorker("the engine does not answer") from self._failure
        return self._snapshot

    def _start_look(self) -> asyncio.Task[None]:
        if self._looking is None:
            self._looking = asyncio.create_task(self._refresh())
            self._looking.add_done_callback(log_task_error)
        return self._looking

    async def _refresh(self) -> None:
        try:
            await asyncio.sleep(self._began + PAUSE_S - _now())
            self._began = began = _now()
            self._snapshot = Snapshot(await self._look(), began)
            self._failure = None
            for follower in self._followers:
                follower(self._snapshot)
        except EngineError as error:
            self._fail(error)
        except (LookupError, TypeError, ValueError) as error:
            # The description lacks keys that TorchServe documents; the log gets the cause, the client does not.
            event(_log, logging.ERROR, "engine_description_unreadable", exc_info=error)
            self._fail(EngineError("the engine describes its models in an unknown way"))
        except Exception:
            # The task ends with this error and logs it; the last snapshot may be out of date.
            self._failure = EngineError("looking at the engine failed")
            raise
        finally:
            self._finished, self._looking = self._began, None

    def _fail(self, failure: EngineError) -> None:
        if self._failure is None:
            event(_log, logging.WARNING, "engine_lost", reason=str(failure))
        self._failure = failure


def _now() -> float:
    return asyncio.get_running_loop().time()
