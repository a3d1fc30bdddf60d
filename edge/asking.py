"""Asks a program that speaks the frames of native/harness.c."""

import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from archive import Trusted
from errors import EdgeError

ANY, STATE = 0, 1
ORACLE = Path(__file__).resolve().parent / "oracle.py"


@dataclass(frozen=True)
class Answer:
    """What a program answered to one body."""

    status: int
    body: bytes


def ask(command: Sequence[str], bodies: Iterable[tuple[int, bytes]], **options: object) -> list[Answer]:
    """The answers to (form, body) pairs, in order. Raises EdgeError with the last line of a program that fails."""
    asked = list(bodies)
    frames = b"".join(struct.pack("II", form, len(body)) + body for form, body in asked)
    done = subprocess.run(command, input=frames, capture_output=True, check=False, **options)  # type: ignore[call-overload]
    answers = list(_unpacked(done.stdout))
    if done.returncode != 0 or len(answers) != len(asked):
        last = (done.stderr.decode(errors="replace").strip().splitlines() or ["it said nothing"])[-1]
        raise EdgeError(f"{Path(command[-1]).name} ended with {done.returncode}: {last[:500]}")
    return answers


def ask_handler(archive: Trusted, bodies: Iterable[tuple[int, bytes]]) -> list[Answer]:
    """What the archive's own handler answers, in a process of its own."""
    with tempfile.TemporaryDirectory(prefix="marina-edge-") as folder:
        archive.unpack(Path(folder))
        # Isolated: what the archive holds for a worker's start, such as sitecustomize.py, is not run here.
        return ask((sys.executable, "-I", "-W", "ignore", str(ORACLE)), bodies, cwd=folder)


def _unpacked(stream: bytes) -> Iterable[Answer]:
    at = 0
    while at + 8 <= len(stream):
        status, size = struct.unpack_from("II", stream, at)
        yield Answer(status, stream[at + 8 : at + 8 + size])
        at += 8 + size
