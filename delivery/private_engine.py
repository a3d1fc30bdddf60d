"""Runs the handler of one archive in private, so that its answers can be recorded: no client and no store sees it.

    private_torchserve   a TorchServe of its own, on free ports and in a private folder, by `python -m stack run`
    private_worker       the handler of engine=ray in a process of its own, by `python -m engines.python.private_worker`

They run as processes, because delivery imports nothing of the stack and loads no handler.
"""

import base64
import contextlib
import ctypes
import functools
import json
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

import engines
import settings as configuration
from archive import write_zip
from engines.engine_profile import PredictionInput, PredictionResponse
from engines.profiles import TORCHSERVE
from engines.torchserve.auth import NAME as KEY_FILE
from engines.torchserve.engine_client import EngineClient
from errors import EngineError, RolloutError, last_words
from settings import Settings
from settings.load import ROOT, temporary
from settings.schema import RegistrationSettings

log = logging.getLogger(__name__)

LOG = "engine.log"
Ask = Callable[[PredictionInput], PredictionResponse]
"""Sends one request to the handler and returns its response, whatever its status."""


@dataclass(frozen=True)
class PrivateArchive:
    """An archive that no store has: its name and version, and all its files."""

    model: str
    version: str
    files: Mapping[str, bytes]


PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
PORTS = ("inference_port", "management_port", "metrics_port", "grpc_inference_port", "grpc_management_port")
POLL_S = 0.1
STOP_S = 60.0  # longer than `stack run` waits before it kills TorchServe
ONE_WORKER = RegistrationSettings(batch_size=1, max_batch_delay=0, initial_workers=1)
_RAISED = re.compile(r"\b((?:[A-Za-z_]\w*\.)*[A-Za-z_]*(?:Error|Exception|Exit|Interrupt)\b: .*)")


@contextmanager
def private_handler(draft: PrivateArchive, settings: Settings, words: Sequence[str], folder: Path) -> Iterator[Ask]:
    """Run the archive's handler as the engine of the settings does, until the block ends; `words` are its overrides.

    `folder` is empty and belongs to this process. Raises EngineError with the reason when the handler does not load.
    """
    if settings.engine.name == "ray":
        with private_worker(draft, settings, folder) as ask:
            yield ask
    else:
        with private_torchserve(draft, words, folder) as ask:
            yield ask


@contextmanager
def private_torchserve(draft: PrivateArchive, words: Sequence[str], folder: Path) -> Iterator[Ask]:
    """Serve the archive with one worker of a TorchServe."""
    overrides = (*_without_groups(words), *_overrides(folder))
    loaded = configuration.load(overrides)
    store = folder / "model_store"
    store.mkdir()
    write_zip(draft.files, store / f"{draft.model}.mar")
    output_file = folder / LOG
    with _running(loaded, overrides, folder), engines.connect(loaded) as engine:
        try:
            engine.register(draft.model, f"{draft.model}.mar", ONE_WORKER, loaded.rollout.fetch_timeout_s)
            engine.scale(draft.model, draft.version, 1, loaded.rollout.workers_timeout_s)
        except EngineError as error:
            raise EngineError(f"the handler does not load: {_reason(output_file) or error}") from None
        yield lambda request: engine.predict(draft.model, draft.version, request)


@contextmanager
def private_worker(draft: PrivateArchive, settings: Settings, folder: Path) -> Iterator[Ask]:
    """Run the handler in one process of the engine in Python."""
    unpacked, output_file = folder / "unpacked", folder / LOG
    for name, content in draft.files.items():
        (unpacked / name).parent.mkdir(parents=True, exist_ok=True)
        (unpacked / name).write_bytes(content)
    command = (sys.executable, "-m", "engines.python.private_worker", str(unpacked), draft.model, draft.version)
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=output,
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )
    try:
        with _ended_after(process, settings.rollout.workers_timeout_s):
            loads = process.stdout is not None and process.stdout.readline()
        if not loads:
            raise EngineError(f"the handler does not load: {_reason(output_file) or 'it took too long'}")
        yield functools.partial(_ask_process, process, settings.engine.response_timeout_s, output_file)
    finally:
        _kill_session(process)
        process.communicate()


def _ask_process(
    process: "subprocess.Popen[bytes]", timeout_s: float, output_file: Path, request: PredictionInput
) -> PredictionResponse:
    assert process.stdin is not None
    assert process.stdout is not None
    headers = {**request.headers, "content-type": request.content_type}
    body = base64.b64encode(request.body).decode("ascii")
    with _ended_after(process, timeout_s), contextlib.suppress(BrokenPipeError):
        process.stdin.write(json.dumps({"headers": headers, "body": body}).encode() + b"\n")
        process.stdin.flush()
    with _ended_after(process, timeout_s):
        line = process.stdout.readline()
    if not line.endswith(b"\n"):  # a killed process may leave half of one
        raise EngineError(f"the handler's process ended: {_reason(output_file) or f'no answer in {timeout_s:g} s'}")
    answer = json.loads(line)
    worker = answer["headers"].get("x-worker-pid")
    pid = None if worker is None else int(worker)
    return PredictionResponse(answer["status"], base64.b64decode(answer["body"]), pid, answer["headers"])


@contextmanager
def _ended_after(process: "subprocess.Popen[bytes]", timeout_s: float) -> Iterator[None]:
    """Kill a process that hangs and what it has started, so that its pipe ends."""
    timer = threading.Timer(timeout_s, _kill_session, [process])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _kill_session(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process that leads a session; a handler may have forked processes that hold its pipe open."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def reason_in_log(folder: Path) -> str:
    """Return the last error that the private engine logged, empty where there is none."""
    return _reason(folder / LOG)


def _overrides(folder: Path) -> tuple[str, ...]:
    """Return the overrides that separate an engine from every other one on this machine."""
    state = _quoted(str(folder))
    ports = (f"engine.{name}={port}" for name, port in zip(PORTS, _free_ports(len(PORTS)), strict=True))
    return (
        "engine=torchserve",
        "store=local",
        f"paths.state={state}",
        f"store.folder={_quoted(str(folder / 'model_store'))}",
        f"engine.model_store={_quoted(str(folder / 'model_store'))}",
        f"engine.key_file={_quoted(str(folder / TORCHSERVE.part / KEY_FILE))}",
        f"engine.unpacked={_quoted(str(temporary(folder) / 'models'))}",
        "engine.host=127.0.0.1",
        "engine.nodes=[]",
        "engine.external=false",
        *ports,
    )


def _without_groups(words: Sequence[str]) -> tuple[str, ...]:
    """Leave out the choices of engine and store, which Hydra accepts only once."""
    return tuple(word for word in words if word.lstrip("+").partition("=")[0] not in ("engine", "store"))


def _quoted(text: str) -> str:
    """Return a text as Hydra's grammar quotes it."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(each.getsockname()[1]) for each in sockets]


@contextmanager
def _running(loaded: Settings, overrides: Sequence[str], folder: Path) -> Iterator[None]:
    output_file = folder / LOG
    command = (sys.executable, "-m", "stack", "run", "torchserve", *overrides)
    with output_file.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=_end_with_parent
        )
    try:
        with engines.connect(loaded) as engine:
            _wait_until_ready(process, engine, loaded.engine.start_timeout_s, output_file)
        yield
    finally:
        _end(process)
        shutil.rmtree(temporary(folder), ignore_errors=True)  # sockets and unpacked archives


def _end_with_parent() -> None:
    """Have the kernel end this process in order when its parent dies, even by kill -9."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _end(process: "subprocess.Popen[bytes]", timeout_s: float = STOP_S) -> None:
    """End `stack run`, which stops TorchServe before it ends; kill it with all its descendants when that hangs."""
    process.terminate()
    try:
        process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        log.warning("the private TorchServe did not end within %g s and is killed", timeout_s)
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in psutil.Process(process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.kill()
        process.wait()


def _wait_until_ready(
    process: "subprocess.Popen[bytes]", engine: EngineClient, timeout_s: float, output_file: Path
) -> None:
    deadline = time.monotonic() + timeout_s
    while not engine.is_alive() or not engine.answers():
        if time.monotonic() >= deadline:
            raise RolloutError(f"TorchServe did not start within {timeout_s:g} s (engine.start_timeout_s)")
        if process.poll() is not None:
            said = last_words(output_file.read_text(errors="replace"), process.returncode)
            raise RolloutError(f"TorchServe did not start: {said}")
        time.sleep(POLL_S)


def _reason(output_file: Path) -> str:
    """Return the last line of a Python error in a log."""
    found = _RAISED.findall(output_file.read_text(errors="replace")) if output_file.is_file() else []
    return found[-1][:500] if found else ""
