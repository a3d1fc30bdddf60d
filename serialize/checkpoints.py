"""The checkpoint of a model: where it is, how it is downloaded, and which command provides a missing one.

    URL ──Range──▶ PATH.part ──sha256──▶ PATH ──locate──▶ build

An interrupted download keeps its part file. Only a complete and verified file gets the name PATH.
"""

import hashlib
import logging
from collections.abc import Callable
from http import HTTPStatus
from io import FileIO
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import requests
import urllib3
from tqdm import tqdm

from errors import BuildError, DiskError, WeightsMissing
from files import disk_error, explained, replace_durably
from settings.schema import BuiltModel, Paths

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parent.parent
DEMO_CHECKPOINTS = {"digits": "digits.pt", "cartpole": "cartpole.zip"}
"""The files that `make train_demo` writes into {paths.weights}, by model."""
TRITON_MODELS = ("simple", "simple_int8", "simple_string", "simple_identity", "custom_identity_int32", "simple_image",
                 "densenet_onnx")  # fmt: skip
TRITON_CHECKPOINTS = {name: f"{name}.onnx" for name in TRITON_MODELS}
"""The files that `make demo_triton` writes there."""

CONFIG = "config.json"
SNAPSHOT_WEIGHTS = ("model.safetensors", "pytorch_model.safetensors")
"""The weights in a snapshot folder of Hugging Face; the second is what `serialize convert` makes of its .bin."""

ATTEMPTS = 5  # in a row without a single new byte
TIMEOUT_S = (10.0, 30.0)  # to connect, and between two pieces of the body
CHUNK = 256 * 1024
TEMPORARY = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class _Interrupted(Exception):
    """A connection that ended before the file did; the part file keeps the bytes that arrived."""


def is_url(checkpoint: str) -> bool:
    """Return True for a checkpoint that `make download_weights` downloads."""
    return checkpoint.startswith(("http://", "https://"))


def checkpoint_path(model: BuiltModel, paths: Paths, root: Path = ROOT) -> Path:
    """Return the path of the checkpoint, which may not exist yet.

    The checkpoint of a URL is {paths.weights}/{model_name}{suffix of the URL}.
    """
    if not is_url(model.checkpoint):
        return root / Path(model.checkpoint).expanduser()
    suffix = PurePosixPath(urlsplit(model.checkpoint).path).suffix
    return root / paths.weights / f"{model.model_name}{suffix}"


def locate(model: BuiltModel, paths: Paths, root: Path = ROOT) -> Path:
    """Return the path of the checkpoint, verified against the configured sha256; of a snapshot folder, its weights.

    Raises WeightsMissing with the command that provides the file, and BuildError for a file that cannot be read or has
    another sha256.
    """
    path = checkpoint_path(model, paths, root)
    try:
        if not path.exists():
            raise WeightsMissing(f"{model.model_name}: no weights at {path}; {remedy(model, paths, root)}")
        if path.is_dir() and (path / CONFIG).is_file():
            path = _snapshot_weights(path)
        if not path.is_file():
            raise BuildError(f"{path} is not a file; set served_model.checkpoint to the file with the weights")
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise BuildError(f"{path}: {error.strerror}; set served_model.checkpoint to a file that can be read") from None
    if model.sha256 is not None and not (found := sha256_of(path)).startswith(model.sha256):
        raise BuildError(
            f"{path} has sha256 {found}, served_model.sha256 is {model.sha256}; {remedy(model, paths, root)}"
        )
    return path


def _snapshot_weights(folder: Path) -> Path:
    found = next((folder / name for name in SNAPSHOT_WEIGHTS if (folder / name).is_file()), None)
    if found is not None:
        return found
    pickled = folder / "pytorch_model.bin"
    if pickled.is_file():
        # Imported here: only this error needs it, and torch takes seconds.
        from serialize.state_dict import convert_advice

        raise BuildError(f"{folder}: its weights could only be unpickled, which runs code; {convert_advice(pickled)}")
    raise BuildError(f"{folder}: a snapshot without model.safetensors in one piece; download or save it so")


def remedy(model: BuiltModel, paths: Paths, root: Path = ROOT) -> str:
    """Return the advice how to get the weights of `model`."""
    if is_url(model.checkpoint):
        return f"get them with: make download_weights MODEL={model.model_name}"
    path = checkpoint_path(model, paths, root)
    for command, files in (("train_demo", DEMO_CHECKPOINTS), ("demo_triton", TRITON_CHECKPOINTS)):
        if path == root / paths.weights / files.get(model.model_name, ""):
            return f"get them with: make {command}"
    return f"put your checkpoint at {path} or set served_model.checkpoint=PATH"


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(url: str, target: Path, sha256: str | None, pause: Callable[[float], object]) -> bool:
    """Download `url` to `target`; return False if `target` existed already with the right checksum.

    `sha256` is the whole checksum, its first digits, or None if none is published. The function calls `pause` with
    seconds between attempts. Raises BuildError for a wrong checksum, an HTTP error, a full disk and too many broken
    connections. `PATH.part` keeps the bytes that arrived, and the next call resumes there.
    """
    if target.is_file() and _matches(target, sha256):
        return False
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_whole(url, part, pause)
        _accept(url, part, target, sha256)
    except DiskError as error:
        raise BuildError(str(error)) from None
    except OSError as error:
        raise BuildError(str(disk_error(error, target))) from None
    return True


def _matches(path: Path, sha256: str | None) -> bool:
    return sha256 is None or sha256_of(path).startswith(sha256)


def _accept(url: str, part: Path, target: Path, sha256: str | None) -> None:
    if not _matches(part, sha256):
        found = sha256_of(part)
        part.unlink()  # a download that resumes after wrong bytes can never match
        raise BuildError(f"{url}: the download has sha256 {found}, expected {sha256}; nothing was kept")
    replace_durably(part, target)


def _fetch_whole(url: str, part: Path, pause: Callable[[float], object]) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part)
        except (_Interrupted, requests.ConnectionError, requests.Timeout) as error:
            # An attempt that received bytes is progress; only consecutive empty attempts count.
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise BuildError(f"{url}: gave up after {ATTEMPTS} attempts without a byte: {_cause(error)}") from None
            logger.info("%s: %s, resuming at %d bytes", url, _cause(error), _size(part))
            pause(min(2.0**failures, 30.0))
        except requests.RequestException as error:
            raise BuildError(f"{url}: {_cause(error)}") from None


def _attempt(url: str, part: Path) -> None:
    """Request the rest of the file after the part file's end. Raises _Interrupted when the body ends early."""
    have = _size(part)
    # Identity: a compressed body has another length than the file, and cannot be resumed.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return _check_complete(url, response, part)
        if response.status_code in TEMPORARY or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Interrupted(f"the server responded with {response.status_code}")
        if not response.ok:
            raise BuildError(f"{url}: the server responded with {response.status_code} {response.reason}")
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends the whole file again
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise BuildError(f"{url}: the request was for bytes from {have}, the server sent another range")
        _receive(response, part, have)
    return None


def _check_complete(url: str, response: requests.Response, part: Path) -> None:
    """Accept a part file that is exactly as long as the file; delete a longer one."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total.isdigit() and int(total) == _size(part):
        return
    part.unlink()
    raise _Interrupted(f"{url} has changed since the last attempt")


def _receive(response: requests.Response, part: Path, have: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    with (
        part.open("r+b" if have else "wb", buffering=0) as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024, desc=part.stem) as progress,
    ):
        file.seek(have)
        try:
            # iter_content would drop the last piece of a broken connection; read1 returns every byte that arrived.
            while chunk := response.raw.read1(CHUNK):
                with explained(part, None if total is None else total - file.tell()):
                    _write_whole(file, chunk)
                progress.update(len(chunk))
        except urllib3.exceptions.HTTPError as error:
            raise _Interrupted(_cause(error)) from error
        got = file.tell()
    if total is not None and got != total:
        raise _Interrupted(f"the connection ended at {got} of {total} bytes")


def _write_whole(file: FileIO, chunk: bytes) -> None:
    """Write without a buffer, whose rest would fail a second time when the file is closed."""
    rest = memoryview(chunk)
    while rest:
        rest = rest[file.write(rest) :]


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cause(error: BaseException) -> str:
    """Return the innermost message of an error: requests wraps urllib3, which wraps the socket's error."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return str(seen) or type(seen).__name__
