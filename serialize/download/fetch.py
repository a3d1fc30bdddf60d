"""Downloads one file so that nothing half written is ever taken for the whole.

    URL ──Range──▶ PATH.part ──sha256──▶ PATH

The part file outlives a broken run; only a whole and checked one becomes PATH.
"""

import errno
import logging
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from archive.workplace import publish
from errors import BuildError
from serialize.checkpoints import sha256_of

logger = logging.getLogger(__name__)

ATTEMPTS = 5  # in a row without a single new byte
TIMEOUT_S = (10.0, 30.0)  # to connect, and between two pieces of the body
CHUNK = 256 * 1024
PASSING = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}


class _Interrupted(Exception):
    """The connection ended before the file did; what came stays in the part file."""


def fetch(url: str, target: Path, sha256: str | None, pause: Callable[[float], object]) -> bool:
    """Makes `target` the file at `url`; False when it was there already with the right checksum.

    `sha256` is the whole checksum, its first digits, or None for a file that has none published. `pause` is called
    with seconds between attempts. Raises BuildError: wrong checksum, HTTP error, disk full, too many broken
    connections. What has come by then stays in `PATH.part`, and the next call goes on from there.
    """
    if target.is_file() and _matches(target, sha256):
        return False
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _fetch_whole(url, part, pause)
        _accept(url, part, target, sha256)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise BuildError(f"{target}: {'the disk is full' if full else error.strerror or error}") from None
    return True


def _matches(path: Path, sha256: str | None) -> bool:
    return sha256 is None or sha256_of(path).startswith(sha256)


def _accept(url: str, part: Path, target: Path, sha256: str | None) -> None:
    if not _matches(part, sha256):
        found = sha256_of(part)
        part.unlink()  # going on from wrong bytes would never end well
        raise BuildError(f"{url}: what came has sha256 {found}, expected {sha256}; nothing was kept")
    publish(part, target)


def _fetch_whole(url: str, part: Path, pause: Callable[[float], object]) -> None:
    failures = 0
    while True:
        before = _size(part)
        try:
            return _attempt(url, part)
        except (_Interrupted, requests.ConnectionError, requests.Timeout) as error:
            # An attempt that brought something is progress: only a row of empty ones is given up.
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                raise BuildError(f"{url}: given up after {ATTEMPTS} attempts without a byte: {_cause(error)}") from None
            logger.info("%s: %s, going on at %d bytes", url, _cause(error), _size(part))
            pause(min(2.0**failures, 30.0))
        except requests.RequestException as error:
            raise BuildError(f"{url}: {_cause(error)}") from None


def _attempt(url: str, part: Path) -> None:
    """One request from where the part file ends to the end of the file. Raises _Interrupted when it stops short."""
    have = _size(part)
    # Identity: a compressed body has another length than the file, and cannot be resumed.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response:
        if response.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and have:
            return _check_complete(url, response, part)
        if response.status_code in PASSING or response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _Interrupted(f"the server says {response.status_code}")
        if not response.ok:
            raise BuildError(f"{url}: the server says {response.status_code} {response.reason}")
        if response.status_code != HTTPStatus.PARTIAL_CONTENT:
            have = 0  # the server sends all of it again
        elif not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            raise BuildError(f"{url}: asked for bytes from {have}, the server sent another range")
        _receive(response, part, have)
    return None


def _check_complete(url: str, response: requests.Response, part: Path) -> None:
    """The server has nothing after the part file's end: it is whole, or it is longer than the file ever was."""
    total = response.headers.get("Content-Range", "").rpartition("/")[2]
    if total.isdigit() and int(total) == _size(part):
        return
    part.unlink()
    raise _Interrupted(f"{url} has changed since the last attempt")


def _receive(response: requests.Response, part: Path, have: int) -> None:
    length = response.headers.get("Content-Length", "")
    total = have + int(length) if length.isdigit() else None
    with (
        part.open("r+b" if have else "wb") as file,
        tqdm(total=total, initial=have, unit="B", unit_scale=True, unit_divisor=1024, desc=part.stem) as progress,
    ):
        file.seek(have)
        try:
            # read1 hands out what has come; iter_content would drop a piece that a broken connection left unfilled.
            while chunk := response.raw.read1(CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
        except urllib3.exceptions.HTTPError as error:
            raise _Interrupted(_cause(error)) from error
        got = file.tell()
    if total is not None and got != total:
        raise _Interrupted(f"the connection ended at {got} of {total} bytes")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _cause(error: BaseException) -> str:
    """The innermost words of an error: requests wraps urllib3, which wraps the socket's."""
    seen: BaseException = error
    while (inner := seen.__cause__ or seen.__context__) is not None:
        seen = inner
    return str(seen) or type(seen).__name__
