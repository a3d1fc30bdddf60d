"""docs/containers.md, typed: every command of its code blocks, in their order, in a fresh clone of the last commit."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.tables import cell
from settings.load import ROOT
from tests.containers.project import Project, cloned
from tests.containers.summary import Summary

PAGE = ROOT / "docs" / "containers.md"
PROFILES = "core"  # the others of `make compose_up` need images of others
# What needs more than an engine and Debian's packages, by a word of the command.
LEFT_OUT = {
    "sha256:...": "a digest that the reader fills in",
    "compose.lock.yaml": "asks registries for the digests of others' images",
    "ca.pem": "certificates and an index of the reader's own; test_images.py builds with such",
}


def commands(page: str) -> Iterator[str]:
    """Every command of the page's code blocks; one that goes on in the next line is one command."""
    for block in re.findall(r"^```(?:sh|bash)?\n(.*?)^```$", page, re.DOTALL | re.MULTILINE):
        yield from (line for line in re.sub(r"\\\n\s*", "", block).splitlines() if line.strip())


def reason(command: str) -> str | None:
    """Return why a command is left out, or None."""
    return next((why for word, why in LEFT_OUT.items() if word in command), None)


@pytest.fixture
def clone(images: dict[str, str], tmp_path: Path) -> Iterator[Project]:
    project = cloned(tmp_path / "marina", "page", images)
    try:
        yield project
    finally:
        project.remove()


def test_every_command_of_the_page_works_in_its_order(clone: Project, summary: Summary) -> None:
    clone.env["PROFILES"] = PROFILES
    failed = []
    for command in commands(PAGE.read_text()):
        short = cell(command.partition("#")[0].rstrip())
        if (why := reason(command)) is not None:
            summary.add("docs/containers.md", ("command", "exit status", "s"), (short, f"left out: {why}", ""))
            continue
        began = time.monotonic()
        typed = command.replace("127.0.0.1:5003", clone.gateway.removeprefix("http://"))
        status, printed = clone.attempt("bash", "-c", typed)
        took = f"{time.monotonic() - began:.1f}"
        summary.add("docs/containers.md", ("command", "exit status", "s"), (short, str(status), took))
        if status != 0 or ("curl" in command and '"error"' in printed):
            failed.append(f"{command}\n{printed}")
    assert failed == []


@pytest.mark.parametrize("word", LEFT_OUT)
def test_what_is_left_out_is_on_the_page(word: str) -> None:
    assert any(word in command for command in commands(PAGE.read_text()))
