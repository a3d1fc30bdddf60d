"""Edge and gateway give ten thousand bodies the same responses, byte for byte."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from edge.c_source import policy_header
from edge.compiler import Compiler
from edge.verify import ANY, STATE, HarnessReply, ask
from tests.edge import archives, fuzz, reference
from tests.edge.conftest import Make

COUNT = 10_000
STRANGE = re.compile(rb"(a boolean|text|null|an object|a list) instead of a number")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    return archives.pack(folder / "steering.mar", archives.spec([4, 16, 3]), fields=archives.FIELDS)


@pytest.fixture(scope="module")
def asked() -> list[tuple[int, bytes]]:
    made = fuzz.bodies(COUNT, archives.FIELDS, 4)
    return [(STATE if number % 4 == 0 else ANY, body) for number, body in enumerate(made)]


@pytest.fixture(scope="module")
def expected(archive: Path, asked: list[tuple[int, bytes]]) -> list[HarnessReply]:
    return reference.answers(archive, "steering", asked)


def test_fuzzed_bodies_get_the_gateways_bytes(
    archive: Path, asked: list[tuple[int, bytes]], expected: list[HarnessReply], make: Make
) -> None:
    found = make(archives.policy(archive))(asked)
    wrong = [pair for pair in zip(asked, expected, found, strict=True) if not _same(pair[1], pair[2])]
    assert wrong == []


def test_fuzzed_bodies_do_no_harm_under_address_sanitizer(
    archive: Path, asked: list[tuple[int, bytes]], expected: list[HarnessReply], compiler: Compiler
) -> None:
    program = compiler.harness(policy_header(archives.policy(archive)), sanitized=True)
    found = ask((str(program),), asked)
    assert [pair for pair in zip(asked, expected, found, strict=True) if not _same(pair[1], pair[2])] == []


def test_the_fuzz_reaches_every_status(expected: list[HarnessReply]) -> None:
    seen = Counter(answer.status for answer in expected)
    assert set(seen) == {200, 400, 422}
    assert min(seen.values()) > COUNT / 10
    details = {json.loads(answer.body)["detail"] for answer in expected if answer.status != 200}
    assert len({re.sub(r"\d+", "", detail)[:40] for detail in details}) > 30


def test_deep_nests_are_refused_without_harm(archive: Path, compiler: Compiler) -> None:
    nested = (b"[" * 500_000, b'{"a":' * 200_000, b"[" * 900 + b"]" * 900, b'{"instances":' + b"[" * 100_000)
    program = compiler.harness(policy_header(archives.policy(archive)), sanitized=True)
    assert {reply.status // 100 for reply in ask((str(program),), [(ANY, body) for body in nested])} == {4}


def _same(expected: HarnessReply, found: HarnessReply) -> bool:
    if expected == found:
        return True
    # Of several strange things in one list the handler names the one whose type Python's set gives first, which is
    # another in each process.
    blurred = (STRANGE.sub(b"?", answer.body) for answer in (expected, found))
    return expected.status == found.status and len(set(blurred)) == 1
