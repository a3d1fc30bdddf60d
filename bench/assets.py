"""What every server of a comparison is given: one model in each form, pictures, and what is right for each of them.

    FOLDER/exact, FOLDER/fast   Marina's archive of the model, unpacked, for each decode level that builds
    FOLDER/weather.pt, .ts.pt   the same weights for PyTorch
    FOLDER/pictures/*.jpg       made pictures
    FOLDER/reference.json       the framework's own answers
    FOLDER/weights.bin          the weights of the policy, for the servers of states

All of it is made anew for each run, in a temporary folder.
"""

import json
import logging
import os
import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import settings
from archive import TrustedArchive, TrustPolicy, open_trusted
from bench import pictures
from bench.edge_peers import weights_file
from bench.peers.peer import LEVELS, Level
from bench.targets import Sample
from edge.edge_policy import read_edge_policy
from settings.load import ROOT

_log = logging.getLogger(__name__)

MODEL = "weather"
POLICY = "cartpole"
WORKERS = 2
# Random weights, asked for and named in each answer: a benchmark of speed needs no others.
WORDS = (
    f"served_model={MODEL}",
    "served_model.weights=random",
    f"served_model.request_params.initial_workers={WORKERS}",
    "served_model.request_params.batch_size=8",
)
PICTURES, CANDIDATES = 8, 24
VARIANTS = 32


@dataclass(frozen=True)
class Assets:
    """The folder and what lies in it; `reference` holds for each level and picture every right set of probabilities."""

    folder: Path
    pictures: tuple[bytes, ...]
    reference: Mapping[Level, Sequence[Sequence[Mapping[str, float]]]]
    refused: Mapping[Level, str] = field(default_factory=dict)
    overrides: tuple[str, ...] = ()

    @property
    def levels(self) -> tuple[Level, ...]:
        """Decode levels that this model may be served with."""
        return tuple(level for level in LEVELS if level not in self.refused)

    def words(self, level: Level) -> tuple[str, ...]:
        """Settings with which Marina packs and serves the model."""
        return (*WORDS, f"served_model.decode={level}", *self.overrides)

    @property
    def policy_words(self) -> tuple[str, ...]:
        """The same for the policy."""
        return (f"served_model={POLICY}",)

    @property
    def policy_archive(self) -> Path:
        """Marina's archive of the policy."""
        return self.folder / "archives-policy" / f"{POLICY}.mar"

    @property
    def policy_weights(self) -> Path:
        """Its weights, as bench/peers/rust reads them."""
        return self.folder / "weights.bin"


def make(folder: Path, overrides: Sequence[str] = (), levels: Sequence[Level] = LEVELS) -> Assets:
    """Build everything for pictures; a level other than exact that is refused is left out, with the reason."""
    refused: dict[Level, str] = {level: "not asked for" for level in LEVELS if level not in levels and level != "exact"}
    for level in LEVELS:
        if level in refused:
            continue
        why = _build(folder, level, [*WORDS, f"served_model.decode={level}", *overrides])
        if why and level == "exact":
            raise SystemExit(f"the model cannot be built: {why}")
        if why:
            _log.info("decode: %s is not measured: %s", level, why)
            refused[level] = why
    if why := _build(folder, "eager", [*WORDS, "served_model.artifact=eager"]):
        raise SystemExit(f"the model cannot be built for PyTorch: {why}")
    candidates = _pictures(folder / "pictures")
    subprocess.run([sys.executable, "-m", "bench.reference", str(folder)], cwd=ROOT, check=True)
    reference = json.loads((folder / "reference.json").read_text())
    # Where the network is sure, no way of resizing turns its answer.
    exact = [right[0] for right in reference["exact"]]
    sure = sorted(range(CANDIDATES), key=lambda number: -max(exact[number].values()))[: CANDIDATES // 2]
    labels = [max(exact[number], key=lambda label: exact[number][label]) for number in sure]
    chosen = sorted(sure[position] for position in varied(labels, PICTURES))
    for number in set(range(CANDIDATES)) - set(chosen):
        (folder / "pictures" / f"{number:02d}.jpg").unlink()
    kept = {level: tuple(reference[level][number] for number in chosen) for level in LEVELS}
    (folder / "reference.json").write_text(json.dumps(kept))
    made = tuple(candidates[number] for number in chosen)
    return Assets(folder, made, kept, refused, tuple(overrides))


def varied(labels: Sequence[str], count: int) -> list[int]:
    """Positions of `count` of the labels, in order: each label once, then each twice, and so on.

    Answers that are all the same would let a server that always says the same thing pass.
    """
    turns = [labels[:position].count(label) for position, label in enumerate(labels)]
    return sorted(sorted(range(len(labels)), key=lambda position: turns[position])[:count])


def variants(pictures: Sequence[bytes]) -> list[Sample]:
    """The pictures in turn, each a few bytes other behind its end: no two requests in flight are the same."""
    return [Sample(pictures[number % len(pictures)] + number.to_bytes(4, "big")) for number in range(VARIANTS)]


def make_policy(folder: Path) -> None:
    """Build what the servers of states need: Marina's archive, and the weights alone."""
    subprocess.run([sys.executable, "-m", "demo", "train"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    if why := _build(folder, "policy", [f"served_model={POLICY}"]):
        raise SystemExit(f"the policy cannot be built: {why}")
    weights_file(read_edge_policy(_trusted(folder / "archives-policy" / f"{POLICY}.mar")), folder)


def _build(folder: Path, name: str, words: Sequence[str]) -> str:
    """Pack the model and unpack the archive beside it; the last line of what went wrong, or nothing."""
    archives = folder / f"archives-{name}"
    archives.mkdir(parents=True)
    env = {**os.environ, "MARINA_ARCHIVES": str(archives)}
    command = [sys.executable, "-m", "serialize", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines()
        return said[-1] if said else f"exit status {done.returncode}"
    for path in archives.glob("*.mar"):
        _trusted(path).unpack(folder / name)
    return ""


def _trusted(path: Path) -> TrustedArchive:
    return open_trusted(path, TrustPolicy.of(settings.load()))


def _pictures(folder: Path) -> tuple[bytes, ...]:
    folder.mkdir()
    draw = random.Random(0)  # noqa: S311 - pictures for a load, nothing secret
    made = tuple(pictures.natural(*pictures.SIZE, draw) for _ in range(CANDIDATES))
    for number, picture in enumerate(made):
        (folder / f"{number:02d}.jpg").write_bytes(picture)
    return made


def actions(folder: Path, states: Sequence[bytes]) -> list[int]:
    """What the policy does in each state, computed in 64 bits from its weights alone."""
    policy = read_edge_policy(_trusted(folder / "archives-policy" / f"{POLICY}.mar"))
    values = np.array([list(json.loads(state).values()) for state in states], dtype=np.float64)
    for weight, bias in policy.layers[:-1]:
        values = np.tanh(values @ weight.astype(np.float64).T + bias)
    weight, bias = policy.layers[-1]
    return [int(action) for action in (values @ weight.astype(np.float64).T + bias).argmax(axis=1)]
