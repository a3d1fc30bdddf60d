"""The parity gate against the library: a policy must answer as `predict` of Stable-Baselines3 itself does.

    observations ──▶ handler of the archive ──▶ actions ─┐
         └──▶ python -I library_process.py ──▶ actions ──┴─▶ equal, or nothing is packed

The rest of this room compares the artifact with the network that Marina read from the checkpoint. Here the library
itself reads the checkpoint in a separate process, so the gate also detects a network that Marina read wrongly.
"""

import contextlib
import importlib.util
import json
import logging
import math
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import BuildError, ParityError
from handlers.errors import RequestError
from handlers.model_handler import ModelHandler
from handlers.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from serialize import library_process
from serialize.checkpoints import is_url, sha256_of
from serialize.loaded_model import LoadedModel
from serialize.sample_requests import normalized, random_observations
from serialize.sb3.policy_file import SETTINGS, WEIGHTS
from serialize.sb3.policy_spaces import ActionSpace, DictSpace, Space, bound_list, is_bounded
from settings.schema import ParitySettings, PolicyModel

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""The largest difference of a continuous action, relative to it, or to half the width of its bounds if that is above 1.
"""
MAX_UNDECIDED = 0.25
"""The largest share of observations whose answer in the library itself depends on rounding."""
MEMORY = 16 << 30  # bytes of address space; torch with CUDA reserves three gigabytes at import
ROWS = 64  # observations in one request to the handler
SHOWN = 300  # characters of an observation in an error
REMEDY = "install it, or set parity.python=PATH to an interpreter that has it"


@dataclass(frozen=True)
class LibraryAgreement:
    """The result of a comparison with the library's `predict`.

    `undecided` counts the observations whose answer in the library itself depends on rounding. `largest` is the largest
    difference of a continuous action in the other observations, as a share of the action's scale.
    """

    version: str
    unpickled: bool
    observations: int
    largest: float
    undecided: int

    def card(self) -> dict[str, Any]:
        """Return the model card's entry, without figures that differ between machines."""
        return {
            "reference": f"stable-baselines3 {self.version}",
            "unpickled": self.unpickled,
            "observations": self.observations,
            "tolerance": TOLERANCE,
        }

    def __str__(self) -> str:
        """Return the text for the build's last line."""
        how = "load and predict" if self.unpickled else "predict, nothing unpickled"
        return (
            f"stable-baselines3 {self.version} ({how}) over {self.observations} observations: largest difference "
            f"{self.largest:.1e}, limit {TOLERANCE:g}, {self.undecided} decided by rounding"
        )


def check_library(
    model: PolicyModel,
    loaded: LoadedModel,
    checkpoint: Path | None,
    handler: ModelHandler,
    work: Path,
    gate: ParitySettings,
) -> LibraryAgreement | str:
    """Compare the handler's answers with the library's, or return the reason for leaving the library out.

    The handler has its artifact loaded, and `work` is a private folder. Raises ParityError with the first observation
    that both answer differently, and BuildError if the library is required and missing, or `parity.unpickle` is set for
    a checkpoint that the user has not vouched for.
    """
    if (reason := _reason_to_skip(checkpoint, gate)) is not None:
        return _skipped(model, reason, gate)
    assert checkpoint is not None
    assert loaded.spaces is not None
    if gate.unpickle:
        _check_trust(model)
        logger.warning("%s: the library unpickles %s, which runs code from it", model.model_name, checkpoint)
    space = loaded.spaces[0]
    observations = random_observations(space, gate.observations, loaded.spec["observation"])
    folder = work / "library"
    folder.mkdir()
    _prepare(folder, loaded, checkpoint, handler, observations, gate)
    missing = _run(folder, gate, model.model_name)
    if missing is not None and gate.python is not None:
        raise BuildError(f"{model.model_name}: parity.python: {gate.python} has no {missing}")
    if missing is not None:
        return _skipped(model, f"{missing} is not installed here", gate)
    about = json.loads((folder / "about.json").read_text())
    if about["other_spaces"]:
        raise ParityError(f"{model.model_name}: {checkpoint}: unpickled, it has another {about['other_spaces'][0]}")
    theirs = np.load(folder / "actions.npy", allow_pickle=False).astype(np.float64)
    ours = _answers(handler, observations, space, model.model_name)
    largest, undecided = compare(model.model_name, loaded.spaces, observations, ours, theirs, about["version"])
    return LibraryAgreement(about["version"], gate.unpickle, len(ours), largest, undecided)


def _reason_to_skip(checkpoint: Path | None, gate: ParitySettings) -> str | None:
    """Return the reason for leaving the library out; None if it can take part."""
    if gate.library == "off":
        return "parity.library is off"
    if checkpoint is None:
        return "random weights are not a checkpoint of the library"
    if not zipfile.is_zipfile(checkpoint):
        return "the library predicts with a .zip of model.save(), not with a bare policy.pth"
    with zipfile.ZipFile(checkpoint) as archive:
        if not {SETTINGS, WEIGHTS} <= set(archive.namelist()):
            return "the library predicts with a .zip of model.save(), not with a bare policy.pth"
    if gate.python is None and importlib.util.find_spec("stable_baselines3") is None:
        return "stable_baselines3 is not installed here"
    return None


def _skipped(model: PolicyModel, reason: str, gate: ParitySettings) -> str:
    remedy = f"; {REMEDY}" if reason.endswith("not installed here") else ""
    if gate.library == "required" and model.weights != "random":
        raise BuildError(f"{model.model_name}: parity.library is required, but {reason}{remedy}")
    return f"own reconstruction only: {reason}{remedy}"


def _check_trust(model: PolicyModel) -> None:
    """Raise BuildError unless the user names this very file, by its path and its whole checksum."""
    if is_url(model.checkpoint):
        raise BuildError(
            f"{model.model_name}: parity.unpickle runs code from the checkpoint, and {model.checkpoint} is a download; "
            "if you trust it, name its local path"
        )
    if model.sha256 is None or len(model.sha256) != 64:
        raise BuildError(
            f"{model.model_name}: parity.unpickle runs code from the checkpoint; "
            "say which file you trust with all 64 digits of served_model.sha256"
        )


def _prepare(
    folder: Path,
    loaded: LoadedModel,
    checkpoint: Path,
    handler: ModelHandler,
    observations: dict[str, NDArray[Any]],
    gate: ParitySettings,
) -> None:
    """Write the process's input files. The process reads the copy whose checksum is verified here."""
    assert loaded.spaces is not None
    copied = folder / "checkpoint.zip"
    shutil.copyfile(checkpoint, copied)
    if sha256_of(copied) != handler.card.document["provenance"]["checkpoint_sha256"]:
        raise BuildError(f"{checkpoint} was changed while it was built; build again")
    given = normalized(observations, loaded.spec["observation"])
    np.savez(folder / "observations.npz", *given.values())
    job = {
        "keys": list(given),
        "checkpoint": copied.name,
        "unpickle": gate.unpickle,
        "parts": isinstance(loaded.spaces[0], DictSpace),
        "observation_space": _described(loaded.spaces[0]),
        "action_space": _described(loaded.spaces[1]),
        "timeout_s": math.ceil(gate.timeout_s),
        "memory_bytes": MEMORY,
    }
    (folder / "job.json").write_text(json.dumps(job))


def _described(space: Space) -> dict[str, Any]:
    """Return the space as JSON for the process."""
    described: dict[str, Any] = {"type": type(space).__name__}
    match space:
        case DictSpace(parts=parts):
            return {"type": "Dict", "parts": [[key, _described(part)] for key, part in parts]}
        case Box():
            described |= {"shape": space.shape, "dtype": str(space.dtype)}
            return described | {"low": bound_list(space.low), "high": bound_list(space.high)}
        case Discrete(n=n):
            return described | {"n": n}
        case MultiDiscrete(nvec=nvec):
            return described | {"nvec": nvec}
        case MultiBinary(shape=shape):
            return described | {"shape": shape}


def _run(folder: Path, gate: ParitySettings, name: str) -> str | None:
    """Run the library in `folder`; return the package that its interpreter lacks, or None.

    The process gets no secret of this environment and no terminal, and runs in its own process group. That prevents
    accidents but does not contain malicious code of a checkpoint.
    """
    program = Path(library_process.__file__).resolve()
    kept = {key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if key in os.environ}
    quiet = {"HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8"}
    quiet |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    python = gate.python or sys.executable
    with (folder / "output").open("w+") as output:
        try:
            process = subprocess.Popen(
                [python, "-I", str(program), "job.json"],
                cwd=folder,
                env=kept | quiet,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise BuildError(f"parity.python: {python}: {error.strerror}") from None
        try:
            status = process.wait(gate.timeout_s)
        except subprocess.TimeoutExpired:
            raise ParityError(
                f"{name}: the library did not answer within {gate.timeout_s:g} s; raise parity.timeout_s"
            ) from None
        finally:
            # The processes that it started end with it, also when this build is interrupted.
            _kill(process)
    last = ((folder / "output").read_text(errors="replace").strip().splitlines() or [f"exit status {status}"])[-1]
    if status == library_process.MISSING:
        return last
    if status != 0:
        raise ParityError(
            f"{name}: Stable-Baselines3 of {python} does not load the checkpoint: {last[:SHOWN]}; name the interpreter "
            "of the version that wrote it in parity.python, or build without this gate: parity.library=off"
        )
    return None


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    assert process.stdin is not None
    process.stdin.close()
    process.wait()


def _answers(
    handler: ModelHandler, observations: dict[str, NDArray[Any]], space: Space, name: str
) -> NDArray[np.float64]:
    """Return the actions [N, numbers of an action] with which the archive's handler answers a client's requests."""
    count = len(next(iter(observations.values())))
    found: list[Any] = []
    for start in range(0, count, ROWS):
        rows = [_row(observations, space, number) for number in range(start, min(start + ROWS, count))]
        try:
            inputs = handler.read({"instances": rows}, "application/json").inputs
            predictions = handler.card.predictions(handler.forward(inputs))
        except RequestError as error:
            raise ParityError(
                f"{name}: the handler refuses one of the observations {start} to {start + len(rows) - 1}, "
                f"which are all inside the space: {error.detail}"
            ) from None
        found += [each["action"] for each in predictions]
    return np.array(found, dtype=np.float64).reshape(count, -1)


def _row(observations: dict[str, NDArray[Any]], space: Space, number: int) -> Any:
    """Return one observation as a client writes it."""
    if isinstance(space, DictSpace):
        return {key: values[number].tolist() for key, values in observations.items()}
    return observations["observation"][number].tolist()


def compare(
    name: str,
    spaces: tuple[Space, ActionSpace],
    observations: dict[str, NDArray[Any]],
    ours: NDArray[np.float64],
    theirs: NDArray[np.float64],
    version: str,
) -> tuple[float, int]:
    """Return the largest difference, and the number of observations that rounding decides. Raises ParityError.

    `theirs` is [runs, N, numbers]: the library's answers, and its answers when each weight is off by a few units of its
    last digit. If these differ, float32's rounding decides, and any answer within their range is right.
    """
    space, action = spaces
    if theirs.shape[1:] != ours.shape:
        raise ParityError(f"{name}: an action has {ours.shape[1]} numbers, the library's {theirs.shape[2]}")
    if isinstance(action, Box):
        scale = np.maximum(np.maximum(1, np.abs(theirs[0])), _half_width(action))
        low, high = theirs.min(axis=0), theirs.max(axis=0)
        margin = TOLERANCE * scale + (high - low)
        wrong = (ours < low - margin) | (ours > high + margin) | ~np.isfinite(ours)
        undecided = high - low > TOLERANCE * scale
        difference = np.where(undecided, 0, np.abs(ours - theirs[0]) / scale)
    else:
        wrong = (theirs != ours).all(axis=0)
        undecided = (theirs != theirs[0]).any(axis=0)
        difference = np.zeros_like(ours)
    rows, uncertain = wrong.any(axis=1), int(undecided.any(axis=1).sum())
    if rows.any():
        first = int(np.flatnonzero(rows)[0])
        shown = json.dumps(_row(observations, space, first))
        raise ParityError(
            f"{name}: {int(rows.sum())} of {len(rows)} observations are answered differently than "
            f"by stable-baselines3 {version}; first is number {first}, {shown[:SHOWN]}"
            f"{'...' if len(shown) > SHOWN else ''}: the archive says {ours[first].tolist()}, "
            f"the library {theirs[0, first].tolist()}; nothing is packed"
        )
    if uncertain > MAX_UNDECIDED * len(rows):
        raise ParityError(
            f"{name}: in {uncertain} of {len(rows)} observations the library's own answer depends on the "
            "last digit of the weights, which leaves too few to compare; build without this gate: parity.library=off"
        )
    return float(difference.max()), uncertain


def _half_width(action: Box) -> NDArray[np.float64]:
    """Return half the width of each action's bounds; 0 for an action space without bounds."""
    if not is_bounded(action):
        return np.zeros(action.low.size)
    return (action.high.astype(np.float64) - action.low.astype(np.float64)).reshape(-1) / 2
