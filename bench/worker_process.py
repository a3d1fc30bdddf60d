"""A worker without a server: one process that loads an unpacked archive and measures its handler.

    python -m bench.worker_process rate FOLDER PICTURES   decode and forward, of eight pictures a batch
    python -m bench.worker_process traced FOLDER          requests of one state, with and without traces

The process writes one line of JSON when it is ready, and answers each line of its input by another:

    loop SECONDS     read and forward only; answers pictures a second
    handle SECONDS   TorchServe's own service object around the same handler; answers pictures a second
    FLAG COUNT       (traced) answers the processor's microseconds of one of COUNT requests; FLAG is the flag of their
                     `traceparent`: 01 sampled, 00 not sampled, - without the header
"""

import hashlib
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import psutil

from bench.peers.pipeline import Pipeline
from bench.server_process import LineProcess
from settings.load import ROOT

BATCH = 8
STATE = [0.01, 0.02, 0.03, 0.04]

Mode = Literal["loop", "handle"]
Step = Callable[[Sequence[bytes]], object]


class BareWorkers:
    """Several processes of one archive that measure at the same time, as the workers of a server do."""

    def __init__(self, processes: Sequence[LineProcess]) -> None:
        self._processes = processes

    def rate(self, mode: Mode, seconds: float) -> float:
        """Return pictures a second of all processes together. Raises MeasurementError when one has ended."""
        for process in self._processes:
            process.send(f"{mode} {seconds}")
        return sum(float(process.receive()) for process in self._processes)


@contextmanager
def bare_workers(folder: Path, pictures: Path, count: int) -> Iterator[BareWorkers]:
    """Start the processes and wait until each has loaded the archive."""
    command = [sys.executable, "-m", "bench.worker_process", "rate", str(folder), str(pictures)]
    # One thread each: torch, where something imports it, would take all cores.
    processes = [LineProcess(command, {"OMP_NUM_THREADS": "1"}) for _ in range(count)]
    try:
        for process in processes:
            process.receive()
        yield BareWorkers(processes)
    finally:
        for process in processes:
            process.close()


def main(kind: str, folder: Path, *more: str) -> None:
    """Load the archive and answer the lines of standard input."""
    # TorchServe and its handlers print, which must not mix with the answers.
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        for answer in _traced(folder) if kind == "traced" else _rates(folder, Path(*more)):
            print(json.dumps(answer), file=answers, flush=True)


def _rates(folder: Path, pictures: Path) -> Iterator[object]:
    bodies = [path.read_bytes() for path in sorted(pictures.glob("*.jpg"))]
    steps = {"loop": _loop(folder), "handle": _handle(folder)}
    for step in steps.values():
        step(list(itertools.islice(itertools.cycle(bodies), BATCH)))
    yield "ready"
    for line in sys.stdin:
        name, seconds = line.split()
        yield _rate(steps[name], bodies, float(seconds))


def _rate(step: Step, bodies: Sequence[bytes], seconds: float) -> float:
    endless = itertools.cycle(bodies)
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        step(list(itertools.islice(endless, BATCH)))
        done += BATCH
    return done / took


def _loop(folder: Path) -> Step:
    pipeline = Pipeline(folder, BATCH)
    return lambda bodies: pipeline.forward([pipeline.read(body) for body in bodies])


def _handle(folder: Path) -> Step:
    """Return `handle()` as a worker calls it, with the context that TorchServe makes for each batch."""
    from ts.context import RequestProcessor

    service = _service(folder, "weather", "vision_handler.py", BATCH)

    def step(bodies: Sequence[bytes]) -> object:
        context = service.context
        context.request_ids = dict(enumerate(map(str, range(len(bodies)))))
        context.request_processor = [RequestProcessor({"Content-Type": "image/jpeg"}) for _ in bodies]
        return service._entry_point([{"body": bytearray(body)} for body in bodies], context)

    return step


def _traced(folder: Path) -> Iterator[object]:
    """Yield the cost of loading and the digest of an answer, then the cost of requests."""
    sys.path.insert(0, str(folder))
    service = _service(folder, "cartpole", "policy_handler.py", 1)
    service.set_cl_socket(None)
    message = bytes(service.predict([_request("-")]))
    # In front of the model's name stands what differs between processes.
    digest = hashlib.sha256(message[message.index(b'{"model"') :]).hexdigest()
    yield {"cpu_s": time.process_time(), "mb": psutil.Process().memory_info().rss / 1e6, "answer": digest}
    for line in sys.stdin:
        flag, count = line.split()
        yield _microseconds(service, flag, int(count))


def _microseconds(service: Any, flag: str, count: int) -> float:
    request = _request(flag)
    began = time.process_time()
    for _ in range(count):
        service.predict([request])
    return 1e6 * (time.process_time() - began) / count


def _request(flag: str) -> dict[str, Any]:
    headers = {} if flag == "-" else {"traceparent": f"00-{'7' * 32}-{'1' * 16}-{flag}", "X-Request-Id": "r"}
    named = [{"name": name.encode(), "value": value.encode()} for name, value in headers.items()]
    body = {"name": "body", "contentType": "application/json", "value": STATE}
    return {"requestId": b"0", "headers": named, "parameters": [body]}


def _service(folder: Path, model: str, handler: str, batch: int) -> Any:
    """Return TorchServe's service object of an unpacked archive."""
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import ModelLoaderFactory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics: Any = MetricsCacheYamlImpl(str(ROOT / "docker" / "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name = model
    loader: Any = ModelLoaderFactory.get_model_loader()
    return loader.load(model, str(folder), handler, None, batch, None, True, metrics)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
