"""A broken archive of each kind is refused in one line while traffic flows; one that breaks later is taken back."""

import zipfile
from pathlib import Path

import pytest

import engines
from archive import write_zip
from archive.signing import generate_keys
from settings import Settings
from tests.e2e.clients import asking
from tests.e2e.conftest import Stack
from tests.e2e.tampered import HANDLER, MANIFEST, contents, summed

pytestmark = pytest.mark.e2e

# Answers as it should until it has proven itself, then every further batch fails.
BREAKS_LATER = b"""
answers, told = PolicyHandler.postprocess, []
def broken(self, forwarded):
    told.append(1)
    if len(told) > 60:
        %s
    return answers(self, forwarded)
PolicyHandler.postprocess = broken
"""


def versions(settings: Settings) -> list[tuple[str, frozenset[int]]]:
    """Registered versions and their workers."""
    with engines.connect(settings) as engine:
        return [(found.version, found.pids) for found in engine.versions("cartpole")]


def upload(stack: Stack, archives: Path, *overrides: str) -> str:
    """Roll out `archives`/cartpole.mar through the stack's own store; returns what the failing upload printed."""
    places = (f"paths.archives={archives}", f"store.folder={stack.archives}", "rollout.warm_requests=1")
    return stack.run("upload_model.py", "served_model=cartpole", *places, *overrides, status=1)


BROKEN = {
    "wrong golden answer": "golden",
    "handler that raises": "was not rolled out",
    "handler that does not parse": "is not Python in line",
    "worker that never starts": "was not rolled out",
    "checksum off": "says",
    "a bit turned over": "",
    "cut short": "",
    "unsigned where signatures are required": "is not signed",
    "path escape": "leaves the folder",
    "another archive in front": "an end that does not agree with its directory",
    "manifest changed": "MAR-INF/MANIFEST.json disagrees with MAR-INF/FIXED.json",
    "10 GB claimed": "claims",
}


CHANGES = {
    "handler that raises": b"\nraise RuntimeError('broken on purpose')\n",
    "handler that does not parse": b"\ndef :\n",
    "worker that never starts": b"\nimport time\ntime.sleep(3600)\n",
    # The handler itself compares at its start; it is told not to, so that delivery has to.
    "wrong golden answer": b"""
from handlers import request_body
from handlers.model_handler import ModelHandler
import numpy as np
ModelHandler._check_golden = lambda self, answers: np.concatenate(
    [self.read(request_body.body_of(one.row)[1], one.content_type).inputs for one in answers.samples]
)
""",
}


def break_it(kind: str, built: Path, target: Path) -> None:
    files = contents(built)
    files[HANDLER] += CHANGES.get(kind, b"")
    if kind == "wrong golden answer":
        text = files["golden.json"].replace(b'"action": 0', b'"action": 1').replace(b'"action":0', b'"action":1')
        assert text != files["golden.json"]
        files["golden.json"] = text
    if kind == "path escape":
        files["../../escape.py"] = b"x"
    whole = summed(files)
    if kind == "checksum off":
        whole["model.json"] += b" "
    write_zip(whole, target)
    if kind == "10 GB claimed":
        with zipfile.ZipFile(target, "a") as archive:
            archive.writestr("weights.bin", b"x")
            archive.infolist()[-1].file_size = 10 * 1024**3
    if kind == "manifest changed":
        write_zip(whole | {MANIFEST: files[MANIFEST].replace(HANDLER.encode(), b"golden.json")}, target)
    content = bytearray(target.read_bytes())
    if kind == "another archive in front":
        # TorchServe would unpack the first one, whose handler was changed; Python sees the second.
        write_zip(summed({**files, HANDLER: files[HANDLER] + b"\nraise SystemExit\n"}), target)
        content[:0] = target.read_bytes()
    if kind == "a bit turned over":
        content[len(content) // 2] ^= 1
    target.write_bytes(content[:-1000] if kind == "cut short" else content)


QUICK = (
    "wrong golden answer",
    "handler that raises",
    "unsigned where signatures are required",
    "a bit turned over",
    "cut short",
    "another archive in front",
    "manifest changed",
)


@pytest.mark.parametrize(
    "kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in BROKEN]
)
def test_a_broken_archive_is_refused_and_traffic_does_not_notice(
    stack: Stack, settings: Settings, tmp_path: Path, kind: str
) -> None:
    break_it(kind, stack.archives / "cartpole.mar", tmp_path / "cartpole.mar")
    _, public = generate_keys(tmp_path / "keys")
    more = [f"signing.public_key={public}", "signing.required=true"] if "unsigned" in kind else []
    more += ["rollout.workers_timeout_s=5"] if "never" in kind else []
    before, files = versions(settings), sorted(stack.archives.iterdir())
    with asking(stack.predict_url("cartpole")) as answers:
        printed = upload(stack, tmp_path, *more)
    last = printed.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert BROKEN[kind] in last
    assert versions(settings) == before
    assert sorted(stack.archives.iterdir()) == files
    assert answers.kinds == {(200, before[0][0])}


@pytest.mark.parametrize(
    ("breaking", "words"),
    [
        ("raise RuntimeError('later')", "answers failed"),
        pytest.param("import os; os._exit(3)", "workers are left", marks=pytest.mark.slow),
    ],
)
def test_a_version_that_breaks_under_traffic_is_taken_back(
    stack: Stack, settings: Settings, tmp_path: Path, breaking: str, words: str
) -> None:
    files = contents(stack.archives / "cartpole.mar")
    files[HANDLER] += BREAKS_LATER % breaking.encode()
    write_zip(summed(files), tmp_path / "cartpole.mar")
    before, kept = versions(settings), sorted(stack.archives.iterdir())
    with asking(stack.predict_url("cartpole")) as answers:
        printed = upload(stack, tmp_path, "rollout.watch_s=20")
    last = printed.strip().splitlines()[-1]
    assert "was taken back: " in last
    assert words in last or "answers failed" in last
    assert last.endswith(f"version {before[0][0]} serves again")
    assert versions(settings) == before
    assert sorted(stack.archives.iterdir()) == kept
    assert (answers.seen[-1].status, answers.seen[-1].version) == (200, before[0][0])
