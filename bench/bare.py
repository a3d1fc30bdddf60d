"""Decode and forward without any server: `python -m bench.bare FOLDER PICTURES`, driven by bench.bare_workers.

One process with one loaded archive. On its input a line `loop SECONDS` (read and forward, batches of eight) or `handle
SECONDS` (TorchServe's own service object around the same handler), on its output the pictures a second.
"""

import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.peers.pipeline import Pipeline
from settings.load import ROOT

BATCH = 8


def main(folder: Path, pictures: Path) -> None:
    """Serve the lines of the standard input."""
    # TorchServe and its handlers print; what is printed must not mix with the figures.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    bodies = [path.read_bytes() for path in sorted(pictures.glob("*.jpg"))]
    steps = {"loop": _loop(folder), "handle": _handle(folder)}
    for step in steps.values():
        step(list(itertools.islice(itertools.cycle(bodies), BATCH)))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        name, seconds = line.split()
        print(json.dumps(_rate(steps[name], bodies, float(seconds))), file=answers, flush=True)


def _rate(step: Callable[[Sequence[bytes]], object], bodies: Sequence[bytes], seconds: float) -> float:
    batches = _batches(bodies)
    began, done = time.perf_counter(), 0
    while (took := time.perf_counter() - began) < seconds:
        step(next(batches))
        done += BATCH
    return done / took


def _batches(bodies: Sequence[bytes]) -> Iterator[list[bytes]]:
    endless = itertools.cycle(bodies)
    while True:
        yield list(itertools.islice(endless, BATCH))


def _loop(folder: Path) -> Callable[[Sequence[bytes]], object]:
    pipeline = Pipeline(folder, BATCH)
    return lambda bodies: pipeline.forward([pipeline.read(body) for body in bodies])


def _handle(folder: Path) -> Callable[[Sequence[bytes]], object]:
    """`handle()` as a worker calls it, with the context that TorchServe makes for each batch."""
    from ts.context import RequestProcessor
    from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
    from ts.model_loader import ModelLoaderFactory

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        metrics: Any = MetricsCacheYamlImpl(str(ROOT / "docker" / "metrics.yaml"))
    metrics.initialize_cache()
    metrics.model_name = "weather"
    loader: Any = ModelLoaderFactory.get_model_loader()
    service = loader.load("weather", str(folder), "vision_handler.py", None, BATCH, None, True, metrics)

    def step(bodies: Sequence[bytes]) -> object:
        context = service.context
        context.request_ids = dict(enumerate(map(str, range(len(bodies)))))
        context.request_processor = [RequestProcessor({"Content-Type": "image/jpeg"}) for _ in bodies]
        return service._entry_point([{"body": bytearray(body)} for body in bodies], context)

    return step


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
