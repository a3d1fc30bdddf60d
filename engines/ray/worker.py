"""A worker: one replica of a version's deployment, with the handler of its archive loaded and warm."""

import asyncio
import faulthandler
import json
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ray

from archive.trust import unpacked_manifest
from engines.ray.asked import Answered, Asked
from engines.ray.fetch import Source
from engines.ray.logs import structure_replica
from engines.ray.memory import keep_memory, settle
from engines.ray.table import Registration
from engines.ray.unpacked import Unpacked

STDERR = 2
METRICS = Path(__file__).resolve().parents[2] / "docker" / "metrics.yaml"


class Worker:
    """Answers batches one after the other, in a thread, so that its health is told while a network computes.

    Its constructor returns when the handler has loaded: the kit's handlers have met their golden answers and are warm
    by then. What the constructor raises, Serve reports as a deployment that failed.
    """

    def __init__(self, registration: Registration, source: Source) -> None:
        keep_memory()
        structure_replica(registration.model, registration.version)
        self._unpacked = Unpacked(registration, source)
        folder = self._unpacked.folder
        # Read by OpenMP, and so by torch, when a handler loads it.
        os.environ["OMP_NUM_THREADS"] = str(_threads(folder))
        os.chdir(folder)
        # Imported here: `ts` and what belongs to it is the workers' alone.
        from engines.ray.handler import Handler

        logging.getLogger("ts").setLevel(logging.WARNING)
        self._handler = Handler(folder, registration, str(METRICS), 0 if ray.get_gpu_ids() else None)
        self._one_at_a_time = ThreadPoolExecutor(1, "handler")
        self._timeout_s = registration.response_timeout_s
        settle()

    async def answer(self, batch: Sequence[Asked]) -> Answered:
        """The answers to a batch, in its order."""
        answered: Answered = await self._in_thread(self._answer, batch)
        return answered

    async def describe(self) -> Any:
        """What the handler tells about its model."""
        return await self._in_thread(self._handler.describe)

    def _answer(self, batch: Sequence[Asked]) -> Answered:
        began = time.perf_counter()
        told, samples = self._handler.answer(batch)
        return Answered(told, samples, time.perf_counter() - began)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._one_at_a_time, self._in_time, function, *arguments)

    def _in_time(self, function: Any, *arguments: Any) -> Any:
        """Call a function, and end this process when it takes too long: nothing else stops a handler that hangs.

        Where it stood is written to the standard error, by a thread that needs nothing of the interpreter.
        """
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=STDERR)
        try:
            return function(*arguments)
        finally:
            faulthandler.cancel_dump_traceback_later()


def _threads(folder: Path) -> int:
    """As many as are stamped into the manifest, else the cores divided by the workers that the archive was built for.

    An archive that names no number of workers, as one that the kit did not make, gets all cores.
    """
    if stamped := unpacked_manifest(folder)["model"].get("threads"):
        return int(stamped)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    card = folder / "model.json"
    workers = json.loads(card.read_text())["request_params"]["initial_workers"] if card.is_file() else 1
    return max(1, cores // max(1, int(workers)))
