"""Which models there are, known without asking the engine at each request.

A prediction uses what the last look found and, when that is older than the time to live, starts the next look in the
background. Only a model that the last look did not find makes a request wait: for a look that began after the request
came, shared by all that wait, and never sooner than `PAUSE_S` after the one before, so that a flood of unknown names
costs the engine no more than one does.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from errors import EngineError, NoWorker, UnknownModel
from gateway.served import ServedModel, ServedVersion, Snapshot
from logs import event, log_task_error

_log = logging.getLogger(__name__)

PAUSE_S = 0.25

Look = Callable[[], Awaitable[Mapping[str, ServedModel]]]


class Catalog:
    """The gateway's view of what the engine serves."""

    def __init__(self, look: Look, ttl_s: float) -> None:
        self._look = look
        self._ttl_s = ttl_s
        self._snapshot: Snapshot | None = None
        self._began = float("-inf")
        self._finished = float("-inf")
        self._failure: EngineError | None = None
        self._looking: asyncio.Task[None] | None = None

    async def find(self, name: str, version: str | None = None) -> ServedVersion:
        """A version of a model, the default one for None; an old view will do when the engine does not answer.

        Raises UnknownModel, or NoWorker when the engine does not answer and the model was not known before.
        """
        arrived = _now()
        found = self.peek(name, version)
        if found is None:
            found = (await self._since(arrived)).find(name, version)
        if found is None:
            named = f"version {version} of model {name}" if version else f"model {name}"
            raise UnknownModel(f"no {named[:200]} is registered")
        return found

    def peek(self, name: str, version: str | None) -> ServedVersion | None:
        """What `find` would return without a wait, None when it would wait."""
        snapshot = self._snapshot
        found = None if snapshot is None else snapshot.find(name, version)
        if found is not None and snapshot is not None and _now() - snapshot.taken > self._ttl_s:
            self._start_look()
        return found

    def known(self, name: str, version: str | None) -> ServedVersion | None:
        """A version as the last look found it, without any wait; None when it did not."""
        return None if self._snapshot is None else self._snapshot.find(name, version)

    def glance(self) -> tuple[bool | None, Snapshot | None]:
        """Whether the engine answered the last look (None before the first), and what was found; waits for nothing.

        An old view starts the next look, so that whoever glances again and again sees changes.
        """
        if _now() - self._finished > self._ttl_s:
            self._start_look()
        return None if self._finished == float("-inf") else self._failure is None, self._snapshot

    async def current(self) -> Snapshot:
        """A view no older than the time to live. Raises NoWorker when the engine does not answer."""
        return await self._since(_now() - self._ttl_s)

    async def fresh(self) -> Snapshot:
        """A view from after this call. Raises NoWorker when the engine does not answer."""
        return await self._since(_now())

    def forget(self) -> None:
        """Makes the next request look again: the engine just answered otherwise than the last look says."""
        if self._snapshot is not None:
            self._snapshot = Snapshot(self._snapshot.models, float("-inf"))
            self._start_look()

    async def close(self) -> None:
        """Ends a look that is under way."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait({self._looking})

    async def _since(self, moment: float) -> Snapshot:
        """What the first look found that began no earlier than `moment`."""
        while self._finished < moment:
            # A waiter that is cancelled must not end the look that others wait for.
            await asyncio.wait({self._start_look()})
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
        except EngineError as error:
            self._fail(error)
        except (LookupError, TypeError, ValueError) as error:
            # A description without the keys TorchServe documents; the cause goes to the log, not to a client.
            event(_log, logging.ERROR, "engine_description_unreadable", exc_info=error)
            self._fail(EngineError("the engine describes its models in an unknown way"))
        except Exception:
            # It goes to the log with the task that it ends; what was seen before is no longer known to be true.
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
