"""The gate's independent side for policies: what `predict` of Stable-Baselines3 itself answers, in its own process.

    observations ──▶ handler of the archive ──▶ actions ─┐
         └──▶ python -I library_process.py ──▶ actions ──┴─▶ equal, or nothing is packed

Everything else in this room compares the artifact with the network that the kit read from the checkpoint. Here the
library reads the checkpoint, so that a network that was read wrongly is noticed too.
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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from errors import BuildError, ParityError
from handlers.errors import RequestError
from handlers.model_handler import ModelHandler
from serialize import library_process
from serialize.checkpoints import is_url, sha256_of
from serialize.loaded_model import LoadedModel
from serialize.observations import draw, normalized
from serialize.sb3.read import SETTINGS, WEIGHTS
from serialize.sb3.spaces import ActionSpace, Box, Dict, Space
from settings.schema import ParitySettings, PolicyModel

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""How far a continuous action may be off, relative to it, or to half the width of its bounds, where that is above 1."""
HANGING = 0.25
"""Share of the observations beyond which rounding decides too much of the library's own answers to compare with."""
MEMORY = 16 << 30  # bytes of addresses; torch with CUDA takes three gigabytes of them before it does anything
ROWS = 64  # observations in one request to the handler
SHOWN = 300  # characters of an observation in an error
REMEDY = "install it, or set parity.python=PATH to an interpreter that has it"


@dataclass(frozen=True)
class Agreement:
    """What the library's `predict` was held against.

    `largest` is the largest difference of a continuous action, as a share of its scale, where the library's own answer
    does not hang on rounding; `hanging` is how many observations have an answer that does.
    """

    version: str
    unpickled: bool
    observations: int
    largest: float
    hanging: int

    def card(self) -> dict[str, Any]:
        """Return what the model card says: nothing that two machines would measure differently."""
        return {
            "reference": f"stable-baselines3 {self.version}",
            "unpickled": self.unpickled,
            "observations": self.observations,
            "tolerance": TOLERANCE,
        }

    def __str__(self) -> str:
        """Return the words of the build's last line."""
        how = "load and predict" if self.unpickled else "predict, nothing unpickled"
        return (
            f"stable-baselines3 {self.version} ({how}) over {self.observations} observations: largest difference "
            f"{self.largest:.1e}, limit {TOLERANCE:g}, {self.hanging} decided by rounding"
        )


def check_library(
    model: PolicyModel,
    source: LoadedModel,
    checkpoint: Path | None,
    handler: ModelHandler,
    work: Path,
    gate: ParitySettings,
) -> Agreement | str:
    """Hold the handler's answers, its artifact loaded, against the library's; where that is left out, say why.

    `work` is a private folder. Raises ParityError with the first observation that is answered differently, BuildError
    where the library is required and missing, or may not be asked in the way that is set.
    """
    if (reason := _left_out(checkpoint, gate)) is not None:
        return _without(model, reason, gate)
    assert checkpoint is not None
    assert source.spaces is not None
    if gate.unpickle:
        _check_trust(model)
        logger.warning("%s: the library unpickles %s, which runs code from it", model.model_name, checkpoint)
    space = source.spaces[0]
    observations = draw(space, gate.observations, source.spec["observation"])
    folder = work / "library"
    folder.mkdir()
    _prepare(folder, source, checkpoint, handler, observations, gate)
    missing = _run(folder, gate, model.model_name)
    if missing is not None and gate.python is not None:
        raise BuildError(f"{model.model_name}: parity.python: {gate.python} has no {missing}")
    if missing is not None:
        return _without(model, f"{missing} is not installed here", gate)
    about = json.loads((folder / "about.json").read_text())
    if about["other_spaces"]:
        raise ParityError(f"{model.model_name}: {checkpoint}: unpickled, it has another {about['other_spaces'][0]}")
    theirs = np.load(folder / "actions.npy", allow_pickle=False).astype(np.float64)
    ours = _answers(handler, observations, space, model.model_name)
    largest, hanging = compare(model.model_name, source.spaces, observations, ours, theirs, about["version"])
    return Agreement(about["version"], gate.unpickle, len(ours), largest, hanging)


def _left_out(checkpoint: Path | None, gate: ParitySettings) -> str | None:
    """Say why the library is not asked, or None where it is."""
    if gate.library == "off":
        return "parity.library is off"
    if checkpoint is None:
        return "random weights are no checkpoint of the library"
    if not zipfile.is_zipfile(checkpoint):
        return "the library predicts with a .zip of model.save(), not with a bare policy.pth"
    with zipfile.ZipFile(checkpoint) as archive:
        if not {SETTINGS, WEIGHTS} <= set(archive.namelist()):
            return "the library predicts with a .zip of model.save(), not with a bare policy.pth"
    if gate.python is None and importlib.util.find_spec("stable_baselines3") is None:
        return "stable_baselines3 is not installed here"
    return None


def _without(model: PolicyModel, reason: str, gate: ParitySettings) -> str:
    remedy = f"; {REMEDY}" if reason.endswith("not installed here") else ""
    if gate.library == "required" and model.weights != "random":
        raise BuildError(f"{model.model_name}: parity.library is required, but {reason}{remedy}")
    return f"own reconstruction only: {reason}{remedy}"


def _check_trust(model: PolicyModel) -> None:
    """Raise BuildError unless the user has named this very file, as a path and by all of its checksum."""
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
    source: LoadedModel,
    checkpoint: Path,
    handler: ModelHandler,
    observations: dict[str, NDArray[Any]],
    gate: ParitySettings,
) -> None:
    """Lay out what the process reads. The copy of the checkpoint is the one that is checked and then read."""
    assert source.spaces is not None
    copied = folder / "checkpoint.zip"
    shutil.copyfile(checkpoint, copied)
    if sha256_of(copied) != handler.card.document["provenance"]["checkpoint_sha256"]:
        raise BuildError(f"{checkpoint} was changed while it was built; build again")
    given = normalized(observations, source.spec["observation"])
    np.savez(folder / "observations.npz", *given.values())
    job = {
        "keys": list(given),
        "checkpoint": copied.name,
        "unpickle": gate.unpickle,
        "parts": isinstance(source.spaces[0], Dict),
        "observation_space": _described(source.spaces[0]),
        "action_space": _described(source.spaces[1]),
        "timeout_s": math.ceil(gate.timeout_s),
        "memory_bytes": MEMORY,
    }
    (folder / "job.json").write_text(json.dumps(job))


def _described(space: Space) -> dict[str, Any]:
    if isinstance(space, Dict):
        return {"type": "Dict", "parts": [[key, _described(part)] for key, part in space.parts]}
    return {"type": type(space).__name__, **asdict(space)}


def _run(folder: Path, gate: ParitySettings, name: str) -> str | None:
    """Run the library in `folder`; return the package that its interpreter lacks, or None.

    Its environment holds no secret of this one, and it has neither a terminal nor this process's group. That keeps
    accidents apart; it is no cage for code that a checkpoint brings.
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
            # Whatever it started ends with it, also when this build is interrupted.
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
    """The actions [N, numbers of an action] that the archive's handler gives to requests of a client."""
    count = len(next(iter(observations.values())))
    found: list[Any] = []
    for start in range(0, count, ROWS):
        rows = [_row(observations, space, number) for number in range(start, min(start + ROWS, count))]
        try:
            inputs = handler.read({"instances": rows}, "application/json")
            predictions = handler.card.predictions(handler.forward(inputs))
        except RequestError as error:
            raise ParityError(
                f"{name}: the handler refuses one of the observations {start} to {start + len(rows) - 1}, "
                f"which are all inside the space: {error.detail}"
            ) from None
        found += [each["action"] for each in predictions]
    return np.array(found, dtype=np.float64).reshape(count, -1)


def _row(observations: dict[str, NDArray[Any]], space: Space, number: int) -> Any:
    """One observation as a client writes it."""
    if isinstance(space, Dict):
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
    """Return the largest difference, and how many observations hang on rounding. Raises ParityError.

    `theirs` is [runs, N, numbers]: the library's answers, and those that it gives when each weight is off by a few
    units of its last digit. Where they differ, float32 decides, and any answer within their range is right.
    """
    space, action = spaces
    if theirs.shape[1:] != ours.shape:
        raise ParityError(f"{name}: an action has {ours.shape[1]} numbers, the library's {theirs.shape[2]}")
    if isinstance(action, Box):
        scale = np.maximum(np.maximum(1, np.abs(theirs[0])), _half_width(action))
        low, high = theirs.min(axis=0), theirs.max(axis=0)
        margin = TOLERANCE * scale + (high - low)
        wrong = (ours < low - margin) | (ours > high + margin) | ~np.isfinite(ours)
        hanging = high - low > TOLERANCE * scale
        apart = np.where(hanging, 0, np.abs(ours - theirs[0]) / scale)
    else:
        wrong = (theirs != ours).all(axis=0)
        hanging = (theirs != theirs[0]).any(axis=0)
        apart = np.zeros_like(ours)
    rows, unsure = wrong.any(axis=1), int(hanging.any(axis=1).sum())
    if rows.any():
        first = int(np.flatnonzero(rows)[0])
        shown = json.dumps(_row(observations, space, first))
        raise ParityError(
            f"{name}: {int(rows.sum())} of {len(rows)} observations are answered otherwise than "
            f"stable-baselines3 {version} does; first is number {first}, {shown[:SHOWN]}"
            f"{'...' if len(shown) > SHOWN else ''}: the archive says {ours[first].tolist()}, "
            f"the library {theirs[0, first].tolist()}; nothing is packed"
        )
    if unsure > HANGING * len(rows):
        raise ParityError(
            f"{name}: in {unsure} of {len(rows)} observations the library's own answer hangs on the last "
            "digit of the weights, which leaves too few to compare; build without this gate: parity.library=off"
        )
    return float(apart.max()), unsure


def _half_width(action: Box) -> NDArray[np.float64]:
    """Half the width of each action's bounds; 0 where there are none."""
    if not action.bounded:
        return np.zeros(action.outputs)
    return (np.array(action.high, np.float64) - np.array(action.low, np.float64)) / 2
