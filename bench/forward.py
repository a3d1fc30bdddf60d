"""`python -m bench.forward`: the forward of `onnx-int8` beside that of `onnx`, one thread, no server around them.

Both networks of the kit, trained here on the digits, so that the first labels mean something: the MobileNetV3-Small of
`make train_demo` and a ResNet18. The held-out digits that no training or calibration has seen are answered by both
artifacts. Rounds of the two take turns; a round's figure is the CPU time of one batch.
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

import commands
import settings
from archive import TrustPolicy, open_trusted
from bench import options
from bench.figures import Row, markdown, median_ratio, spread
from bench.ground import Ground
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
    print(markdown(found))
    return 0 if all(row.reached for row in found) else 1


def rows() -> list[Row]:
    """Speed and first labels of each network; also part of bench.handlers."""
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        ground = Ground({**os.environ, "MARINA_WEIGHTS": f"{folder}/weights", "MARINA_ARCHIVES": f"{folder}/archives"})
        return [row for name in NETWORKS for row in _measure(ground, Path(folder), name)]


def _measure(ground: Ground, folder: Path, network: str) -> list[Row]:
    words = (*NETWORKS[network], f"served_model.checkpoint={folder / network}.pt")
    _train(ground, network, words)
    forwards = {form: _forward(ground, folder / "archives", words, form) for form in ("onnx", "onnx-int8")}
    pictures = _unseen(words)
    wide, small = (_answers(forward, pictures) for forward in forwards.values())
    top1 = float(np.mean(wide.argmax(axis=1) == small.argmax(axis=1)))
    times = _in_turns(list(forwards.values()), pictures[:BATCH])
    speed = median_ratio(*times)
    measured = f"{ROUNDS} rounds of {BATCH}, ms CPU: float {_ms(times[0])}, int8 {_ms(times[1])}"
    fast = speed >= WANTED_SPEED
    return [
        Row(f"{network}: int8 ÷ float32 throughput", measured, f"{speed:.2f}", f">= {WANTED_SPEED}", fast),
        Row(f"{network}: same first label", f"{len(pictures)} unseen digits", f"{top1:.1%}", f">= {WANTED_TOP1:.0%}",
            top1 >= WANTED_TOP1),
    ]  # fmt: skip


def _train(ground: Ground, network: str, words: Sequence[str]) -> None:
    ground.run("-m", "demo", "train")
    ground.run("-c", TRAIN, str(EPOCHS[network]), *words)


TRAIN = """
import sys
from pathlib import Path
import settings, torch
from demo.train_digits import train_digits
torch.set_num_threads(1)
model = settings.load(["served_model=digits", *sys.argv[2:]]).served_model
train_digits(model, Path(model.checkpoint), int(sys.argv[1]))
"""


def _forward(ground: Ground, archives: Path, words: Sequence[str], form: str) -> Forward:
    ground.run("-m", "serialize", "served_model=digits", f"served_model.artifact={form}", *words)
    graph = open_trusted(archives / "digits.mar", TrustPolicy.of(settings.load())).read("model.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    return lambda pictures: np.asarray(session.run(None, {"pixels": pictures})[0])


def _unseen(words: Sequence[str]) -> NDArray[np.uint8]:
    model = settings.load(["served_model=digits", *words]).served_model
    assert model.kind == "vision"
    pixels: NDArray[np.uint8] = prepare(load_split()[1], model).pixels.numpy()
    return pixels


def _answers(forward: Forward, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    return np.concatenate([forward(pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)])


def _in_turns(forwards: Sequence[Forward], batch: NDArray[np.uint8]) -> list[list[float]]:
    times: list[list[float]] = [[] for _ in forwards]
    for round_number in range(ROUNDS + 1):
        for forward, found in zip(forwards, times, strict=True):
            started = time.process_time()
            forward(batch)
            if round_number:  # the first one allocates
                found.append(time.process_time() - started)
    return times


def _ms(times: Sequence[float]) -> str:
    return spread([1000 * each for each in times])


if __name__ == "__main__":
    sys.exit(commands.run(main, None, unwind=options.UNWOUND))
