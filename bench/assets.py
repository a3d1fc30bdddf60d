"""The model of a comparison in the form that each server loads, with pictures and the right answers to them.

    FOLDER/exact, FOLDER/fast   Marina's unpacked archive of the model, for each decode level that can be built
    FOLDER/weather.pt, .ts.pt   the same weights for PyTorch
    FOLDER/pictures/*.jpg       generated pictures
    FOLDER/reference.json       the framework's own answers
    FOLDER/weights.bin          the weights of the policy, for the servers of states

All of it is built anew for each run, in a temporary folder.
"""

import json
import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

import settings
from archive import TrustedArchive, TrustPolicy, open_trusted
from bench import samples
from bench.local_stack import completed, run
from bench.samples import Sample
from edge.edge_policy import EdgePolicy, read_edge_policy

_log = logging.getLogger(__name__)

Level = Literal["exact", "fast"]
LEVELS: tuple[Level, ...] = ("exact", "fast")
"""The decode levels of a picture model."""

MODEL = "weather"
POLICY = "cartpole"
WORKERS = 2
# Random weights, which each answer names: a benchmark of speed needs no others.
MODEL_OVERRIDES = (
    f"served_model={MODEL}",
    "served_model.weights=random",
    f"served_model.request_params.initial_workers={WORKERS}",
    "served_model.request_params.batch_size=8",
)
POLICY_OVERRIDES = (f"served_model={POLICY}",)
PICTURES, CANDIDATES = 8, 24
VARIANTS = 32


@dataclass(frozen=True)
class Assets:
    """The folder and its contents; `reference` holds for each level and picture every right set of probabilities."""

    folder: Path
    pictures: tuple[bytes, ...]
    reference: Mapping[Level, Sequence[Sequence[Mapping[str, float]]]]
    refused: Mapping[Level, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[Level, ...]:
        """The decode levels that this model may be served with."""
        return tuple(level for level in LEVELS if level not in self.refused)

    def model_overrides(self, level: Level) -> tuple[str, ...]:
        """Return the settings with which Marina packs and serves the model."""
        return (*MODEL_OVERRIDES, f"served_model.decode={level}", *self.overrides)

    def variants(self) -> list[Sample]:
        """Return the pictures in turn, no two the same."""
        return samples.numbered(self.pictures, VARIANTS)

    @property
    def policy_archive(self) -> Path:
        """Marina's archive of the policy."""
        return self.folder / "archives-policy" / f"{POLICY}.mar"

    @property
    def policy_weights(self) -> Path:
        """Its weights, as bench/peers/rust reads them."""
        return self.folder / "weights.bin"


def build_assets(folder: Path, overrides: Sequence[str] = (), levels: Sequence[Level] = LEVELS) -> Assets:
    """Build everything for pictures; leave out a level other than exact that the build refuses, and keep the reason."""
    refused: dict[Level, str] = {level: "not asked for" for level in LEVELS if level not in levels and level != "exact"}
    for level in LEVELS:
        if level in refused:
            continue
        why = _build(folder, level, [*MODEL_OVERRIDES, f"served_model.decode={level}", *overrides])
        if why and level == "exact":
            raise SystemExit(f"the model cannot be built: {why}")
        if why:
            _log.info("decode: %s is not measured: %s", level, why)
            refused[level] = why
    if why := _build(folder, "eager", [*MODEL_OVERRIDES, "served_model.artifact=eager"]):
        raise SystemExit(f"the model cannot be built for PyTorch: {why}")
    candidates = _pictures(folder / "pictures")
    run(("-m", "bench.reference", str(folder)), os.environ)
    reference = json.loads((folder / "reference.json").read_text())
    # Where the network is sure, no way of resizing changes its answer.
    exact = [right[0] for right in reference["exact"]]
    sure = sorted(range(CANDIDATES), key=lambda number: -max(exact[number].values()))[: CANDIDATES // 2]
    labels = [max(exact[number], key=lambda label: exact[number][label]) for number in sure]
    chosen = sorted(sure[position] for position in varied(labels, PICTURES))
    for number in set(range(CANDIDATES)) - set(chosen):
        (folder / "pictures" / f"{number:02d}.jpg").unlink()
    kept = {level: tuple(reference[level][number] for number in chosen) for level in LEVELS}
    (folder / "reference.json").write_text(json.dumps(kept))
    return Assets(folder, tuple(candidates[number] for number in chosen), kept, refused, tuple(overrides))


def varied(labels: Sequence[str], count: int) -> list[int]:
    """Return the positions of `count` of the labels, in order: each label once, then each twice, and so on.

    If all right answers were the same, a server that always gives that answer would pass.
    """
    turns = [labels[:position].count(label) for position, label in enumerate(labels)]
    return sorted(sorted(range(len(labels)), key=lambda position: turns[position])[:count])


def build_policy(folder: Path) -> None:
    """Build the files for the servers of states: Marina's archive, and the weights alone."""
    run(("-m", "demo", "train"), os.environ)
    if why := _build(folder, "policy", POLICY_OVERRIDES):
        raise SystemExit(f"the policy cannot be built: {why}")
    write_weights(_policy(folder), folder / "weights.bin")


def write_weights(policy: EdgePolicy, path: Path) -> None:
    """Write the weights as the hand-written servers read them."""
    parts = [part.ravel() for weight, bias in policy.layers for part in (np.ascontiguousarray(weight.T), bias)]
    path.write_bytes(np.concatenate(parts).astype(np.float32).tobytes())


def right_actions(folder: Path, states: Sequence[bytes]) -> list[int]:
    """Return the policy's action in each state, computed in 64 bits from its weights alone."""
    policy = _policy(folder)
    values = np.array([list(json.loads(state).values()) for state in states], dtype=np.float64)
    for weight, bias in policy.layers[:-1]:
        values = np.tanh(values @ weight.astype(np.float64).T + bias)
    weight, bias = policy.layers[-1]
    return [int(action) for action in (values @ weight.astype(np.float64).T + bias).argmax(axis=1)]


def _policy(folder: Path) -> EdgePolicy:
    return read_edge_policy(_trusted(folder / "archives-policy" / f"{POLICY}.mar"))


def _build(folder: Path, name: str, overrides: Sequence[str]) -> str:
    """Pack the model and unpack the archive beside it; return the last line of an error, or nothing."""
    archives = folder / f"archives-{name}"
    archives.mkdir(parents=True)
    done = completed(("-m", "serialize", *overrides), {**os.environ, "MARINA_ARCHIVES": str(archives)})
    if done.returncode:
        lines = done.stdout.strip().splitlines() or [f"exit status {done.returncode}"]
        return next((line for line in reversed(lines) if line.startswith("error: ")), lines[-1])
    for path in archives.glob("*.mar"):
        _trusted(path).unpack(folder / name)
    return ""


def _trusted(path: Path) -> TrustedArchive:
    return open_trusted(path, TrustPolicy.of(settings.load()))


def _pictures(folder: Path) -> tuple[bytes, ...]:
    folder.mkdir()
    draw = random.Random(0)  # noqa: S311 - pictures for a load, nothing secret
    made = tuple(samples.natural(*samples.SIZE, draw) for _ in range(CANDIDATES))
    for number, picture in enumerate(made):
        (folder / f"{number:02d}.jpg").write_bytes(picture)
    return made
