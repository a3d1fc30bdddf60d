"""The edge runs nothing of an archive that is not trusted, and only the handler of one that is."""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import commands
from archive import TrustPolicy, open_trusted, sealed, write_zip
from archive.signing import generate_keys
from edge.__main__ import USAGE, main
from edge.verify import ANY, reference_replies
from errors import ArchiveError
from tests.e2e.tampered import MANIFEST, contents
from tests.edge import archives

STARTERS = ("sitecustomize.py", "usercustomize.py", "json.py", "struct.py", "numpy.py", "ts.py")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs the edge's command line in this process, and returns its exit status."""

    def in_this_process(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["edge", *arguments])
        return commands.run(main, USAGE)

    return in_this_process


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    (tmp_path / "built").mkdir()
    return archives.pack(tmp_path / "built" / "cartpole.mar", archives.spec([4, 8, 3]))


def with_starters(path: Path, mark: Path) -> Path:
    """Add modules to the archive that leave a mark when they are imported; its checksums are correct."""
    files = contents(path)
    code = f"open({str(mark)!r}, 'a').write(__name__)\nraise SystemExit(3)\n".encode()
    write_zip(sealed(files | dict.fromkeys(STARTERS, code), json.loads(files[MANIFEST])), path)
    return path


def test_trusted_archive_runs_nothing_at_the_start_of_a_process(packed: Path, tmp_path: Path) -> None:
    body = (ANY, json.dumps({"instances": [[0.1, 0.2, 0.3, 0.4]]}).encode())
    before = reference_replies(open_trusted(packed, TrustPolicy(100_000_000)), [body])
    files = contents(packed)
    start = f"open({str(tmp_path / 'mark')!r}, 'w')\n".encode()
    write_zip(
        sealed(files | {"sitecustomize.py": start, "usercustomize.py": start}, json.loads(files[MANIFEST])), packed
    )
    assert reference_replies(open_trusted(packed, TrustPolicy(100_000_000)), [body]) == before
    assert before[0].status == 200
    assert not (tmp_path / "mark").exists()


def test_untrusted_archive_is_refused_and_nothing_in_it_runs(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], run: Callable[..., int]
) -> None:
    _, public = generate_keys(tmp_path / "keys")
    with_starters(packed, tmp_path / "mark")
    places = [f"paths.archives={packed.parent}", f"paths.state={tmp_path / 'state'}"]
    signing = [f"signing.public_key={public}", "signing.required=true"]
    for command in ([], ["export", str(tmp_path / "image")]):
        assert run(*command, "served_model=cartpole", *places, *signing) == 1
        printed = capsys.readouterr().err
        assert printed == f"error: {packed}: is not signed, and signing.required asks for it\n"
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.pt": b"no tensors"}, "its artifact model.pt cannot be read"),
        ({"model.json": b'"widths": [4, 1' + b"0" * 400 + b"]"}, "cannot be compiled"),
        ({"policy_handler.py": b"class Other: ...\n"}, "its handler is a user's own"),
        (
            {"handlers/policy_handler.py": b"raise ValueError('broken')\n"},
            "reference_handler.py ended with 1: ValueError: broken",
        ),
    ],
    ids=["weights", "numbers", "entry", "handlers"],
)
def test_archive_with_broken_content_ends_in_one_line(
    packed: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    run: Callable[..., int],
    change: dict[str, bytes],
    words: str,
) -> None:
    files = contents(packed)
    if "model.json" in change:
        text, number = files["model.json"].decode(), change["model.json"]
        change = {"model.json": re.sub(r'"widths": \[\s*4,\s*8', number.decode()[:-1], text).encode()}
    write_zip(sealed(files | change, json.loads(files[MANIFEST])), packed)
    places = [f"paths.archives={packed.parent}", f"paths.state={tmp_path / 'state'}"]
    assert run("export", str(tmp_path / "image"), "served_model=cartpole", *places) == 1
    printed = capsys.readouterr().err
    assert words in printed
    assert printed.startswith("error: ")
    assert printed.count("\n") == 1


def test_archive_replaced_after_the_check_is_not_run(packed: Path, tmp_path: Path) -> None:
    trusted = open_trusted(packed, TrustPolicy(100_000_000))
    with_starters(packed, tmp_path / "mark")
    with pytest.raises(ArchiveError, match=r"was changed after it had been checked|has no"):
        reference_replies(trusted, [(ANY, b"{}")])
    assert not (tmp_path / "mark").exists()
