"""`python -m bench.forward`: the forward pass of `onnx-int8` beside that of `onnx`, one thread, without a server.

It trains both of the kit's networks on the digits, so that their first labels mean something: the MobileNetV3-Small of
`make train_demo` and a ResNet18. Both artifacts answer the held-out digits, which no training or calibration has seen.
Rounds of the two take turns; a round's figure is the CPU time of one batch.
"""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import settings
from archive import TrustPolicy, open_trusted
from bench import options
from bench.driver import take_turns
from bench.local_stack import LocalStack
from bench.tables import Row, figures, median_ratio, missed, spread
from demo.digits import load_split
from demo.train_digits import prepare

BATCH = 8
ROUNDS = 40
WANTED_SPEED = 1.3
WANTED_TOP1 = 0.98
RESNET = ("served_model.network=resnet18",)
NETWORKS: dict[str, tuple[str, ...]] = {"mobilenet_v3_small": (), "resnet18": RESNET}
EPOCHS = {"mobilenet_v3_small": 20, "resnet18": 4}

Forward = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


def main(arguments: Sequence[str]) -> int:
    """Print the table; return 1 when a figure is missed."""
    options.parser("bench.forward", None).parse_args(arguments)
    found = rows()
    print(figures(found))
    return 1 if missed(found) else 0


def rows() -> list[Row]:
    """Return speed and first labels of each network, also for bench.handlers."""
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        env = {**os.environ, "MARINA_WEIGHTS": f"{folder}/weights", "MARINA_ARCHIVES": f"{folder}/archives"}
        return [row for name in NETWORKS for row in _measure(LocalStack(env), Path(folder), name)]


def _measure(stack: LocalStack, folder: Path, network: str) -> list[Row]:
    overrides = (*NETWORKS[network], f"served_model.checkpoint={folder / network}.pt")
    _train(stack, network, overrides)
    forwards = {form: _forward(stack, folder / "archives", overrides, form) for form in ("onnx", "onnx-int8")}
    pictures = _unseen(overrides)
    wide, small = (_answers(forward, pictures) for forward in forwards.values())
    top1 = float(np.mean(wide.argmax(axis=1) == small.argmax(axis=1)))
    sides = {form: partial(_cpu_s, forward, pictures[:BATCH]) for form, forward in forwards.items()}
    times = list(take_turns(sides, ROUNDS, warm=1).values())
    speed = median_ratio(*times)
    measured = f"{ROUNDS} rounds of {BATCH}, ms CPU: float {_ms(times[0])}, int8 {_ms(times[1])}"
    fast = speed >= WANTED_SPEED
    return [
        Row(f"{network}: int8 ÷ float32 throughput", measured, f"{speed:.2f}", f">= {WANTED_SPEED}", fast),
        Row(f"{network}: same first label", f"{len(pictures)} unseen digits", f"{top1:.1%}", f">= {WANTED_TOP1:.0%}",
            top1 >= WANTED_TOP1),
    ]  # fmt: skip


def _train(stack: LocalStack, network: str, overrides: Sequence[str]) -> None:
    stack.run("-m", "demo", "train")
    stack.run("-c", TRAIN, str(EPOCHS[network]), *overrides)


TRAIN = """
import sys
from pathlib import Path
import settings, torch
from demo.train_digits import train_digits
torch.set_num_threads(1)
model = settings.load(["served_model=digits", *sys.argv[2:]]).served_model
train_digits(model, Path(model.checkpoint), int(sys.argv[1]))
"""


def _forward(stack: LocalStack, archives: Path, overrides: Sequence[str], form: str) -> Forward:
    stack.run("-m", "serialize", "served_model=digits", f"served_model.artifact={form}", *overrides)
    graph = open_trusted(archives / "digits.mar", TrustPolicy.of(settings.load())).read("model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda pictures: np.asarray(session.run(None, {"pixels": pictures})[0])


def _unseen(overrides: Sequence[str]) -> NDArray[np.uint8]:
    model = settings.load(["served_model=digits", *overrides]).served_model
    assert model.kind == "vision"
    pixels: NDArray[np.uint8] = prepare(load_split()[1], model).pixels.numpy()
    return pixels


def _answers(forward: Forward, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([forward(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)])


def _cpu_s(forward: Forward, batch: NDArray[np.uint8]) -> float:
    """Return the CPU time of one batch."""
    started = time.process_time()
    forward(batch)
    return time.process_time() - started


def _ms(times: Sequence[float]) -> str:
    return spread([1000 * each for each in times])


if __name__ == "__main__":
    options.program(main)
