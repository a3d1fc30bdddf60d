"""A worker: one process with the handler of one version's archive, loaded and warm."""

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

from archive.manifest import ADOPTED, CARD
from archive.trust import unpacked_manifest
from engines.python.messages import BatchResult, InferenceRequest
from engines.python.model_store import ArchiveSource, UnpackedArchive
from engines.python.process_setup import freeze_memory, keep_memory, log_replica
from engines.python.registry import Registration

STDERR = 2
METRICS = Path(__file__).resolve().parents[2] / "docker" / "metrics.yaml"


class Worker:
    """Answers batches one after the other, in a thread, so that its health can be checked while a network computes.

    Its constructor returns when the handler has loaded. By then the project's handlers have passed their golden answers
    and are warm. The placement reports an error in the constructor as a failed start.
    """

    def __init__(self, registration: Registration, source: ArchiveSource, gpu_id: int | None) -> None:
        keep_memory()
        log_replica(registration.model, registration.version)
        self._unpacked = UnpackedArchive(registration, source)
        folder = self._unpacked.folder
        # OpenMP, and so torch, reads it when a handler loads it.
        os.environ["OMP_NUM_THREADS"] = str(_threads(folder))
        os.chdir(folder)
        # Imported here: only workers need `ts` and its dependencies.
        from engines.python.loaded_handler import LoadedHandler

        logging.getLogger("ts").setLevel(logging.WARNING)
        self._handler = LoadedHandler(folder, registration, str(METRICS), gpu_id)
        self._handler_thread = ThreadPoolExecutor(1, "handler")
        self._timeout_s = registration.response_timeout_s
        freeze_memory()

    async def answer(self, batch: Sequence[InferenceRequest]) -> BatchResult:
        """Return the responses to a batch, in its order."""
        result: BatchResult = await self._in_thread(self._answer, batch)
        return result

    async def describe(self) -> Any:
        """Return the handler's description of its model."""
        return await self._in_thread(self._handler.describe)

    def _answer(self, batch: Sequence[InferenceRequest]) -> BatchResult:
        began = time.perf_counter()
        responses, samples = self._handler.answer(batch)
        return BatchResult(responses, samples, time.perf_counter() - began)

    async def _in_thread(self, function: Any, *arguments: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._handler_thread, self._in_time, function, *arguments)

    def _in_time(self, function: Any, *arguments: Any) -> Any:
        """Call a function, and end this process when it takes too long: nothing else stops a handler that hangs.

        A thread that does not need the interpreter then writes the stack to standard error.
        """
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=STDERR)
        try:
            return function(*arguments)
        finally:
            faulthandler.cancel_dump_traceback_later()


def _threads(folder: Path) -> int:
    """Return the threads stamped into the manifest, else the cores divided by the workers of the archive's card.

    An archive that another tool built gets all cores, as it does from TorchServe.
    """
    if stamped := unpacked_manifest(folder)["model"].get("threads"):
        return int(stamped)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    card = folder / CARD
    has_card = card.is_file() and not (folder / ADOPTED).is_file()
    workers = json.loads(card.read_text())["request_params"]["initial_workers"] if has_card else 1
    return max(1, cores // max(1, int(workers)))
