"""An archive that is renamed over the published one between its check and the engine's fetch: none of its code runs.

The commands are the stack's own, on the real engine; what serves answers on meanwhile.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from archive import write_zip
from settings import Settings
from settings.load import ROOT
from tests.e2e.clients import asking
from tests.e2e.conftest import ENGINE, Stack
from tests.e2e.tampered import HANDLER, MANIFEST, contents, summed
from tests.e2e.uploads import DELAY, QUICK, registered

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

# One of the kit's commands; as it is about to register, another archive is renamed over the one in the store.
SWAPPED = """
import os, shutil, sys
from pathlib import Path
from delivery.journal import Journal
write, (program, store, evil, *words) = Journal.write, sys.argv[1:]

def write_then_swap(journal, entry):
    write(journal, entry)
    if entry.step == "register":
        place = Path(store) / entry.new.archive
        os.replace(shutil.copy(Path(evil) / entry.new.archive, place.with_suffix(".new")), place)

Journal.write = write_then_swap
if program == "upload":
    import upload_model
    sys.exit(upload_model.main(words))
from delivery.__main__ import main
sys.exit(main([program, *words]))
"""


def tampered(stack: Stack, folder: Path, version: str) -> Path:
    """The archive of cartpole as this version, with code of a stranger that tells when it runs."""
    files = contents(stack.archives / "cartpole.mar")
    told = folder / "ran"
    code = f"\nopen({str(told)!r}, 'a').write('ran')\n".encode()
    files[HANDLER] += code
    files["sitecustomize.py"] = files.get("sitecustomize.py", b"") + code
    files[MANIFEST] = files[MANIFEST].replace(b'"modelVersion": "1.0"', f'"modelVersion": "{version}"'.encode())
    folder.mkdir(exist_ok=True)
    write_zip(summed(files), folder / f"cartpole-{version}.mar")
    return told


def swapped(stack: Stack, program: str, evil: Path, *words: str) -> str:
    """Run a command during which the archive is swapped; it must fail. Returns its last line."""
    command = [sys.executable, "-c", SWAPPED, program, str(stack.archives), str(evil), "served_model=cartpole", *words]
    env = stack.env | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr.strip().splitlines()[-1]


def next_number(stack: Stack) -> str:
    printed = stack.run("upload_model.py", "served_model=cartpole", "rollout.dry_run=true", f"{DELAY}=61")
    return next(word for word in printed.split() if word.startswith("cartpole-"))[len("cartpole-") : -len(".mar")]


def test_a_swapped_archive_is_refused_by_upload_and_rollback_and_runs_nothing(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}=62")
    [before] = registered(settings)
    evil, version = tmp_path / "evil", next_number(stack)
    told = tampered(stack, evil, version)
    with asking(stack.predict_url("cartpole")) as answers:
        line = swapped(stack, "upload", evil, *QUICK, f"{DELAY}=61")
    refused = "is not the one that was checked" if ENGINE.compares_archives else "copy is not the checked archive"
    assert line.startswith(f"error: cartpole {version} was not rolled out: ")
    assert refused in line
    assert line.endswith(f"version {before.version} serves as before")
    assert not told.exists()
    assert registered(settings) == [before]
    assert not (stack.archives / f"cartpole-{version}.mar").exists()
    assert answers.kinds == {(200, before.version)}
    # The number of what was refused is not given to the next one, and a rollback is no way around the comparison.
    assert f"cartpole {version} " not in stack.run("upload_model.py", "served_model=cartpole", *QUICK, f"{DELAY}=63")
    kept = (stack.archives / before.archive).read_bytes()
    tampered(stack, evil, before.version)
    [serving] = registered(settings)
    line = swapped(stack, "rollback", evil, *QUICK)
    (stack.archives / before.archive).write_bytes(kept)
    assert refused in line
    assert not told.exists()
    assert registered(settings) == [serving]
    assert f"cartpole {before.version} serves again" in stack.run("-m", "delivery", "rollback", "served_model=cartpole")


@pytest.mark.torchserve(reason="its manager compares archives wherever it runs")
def test_an_engine_whose_copies_cannot_be_read_is_told_or_refused(
    stack: Stack, settings: Settings, tmp_path: Path
) -> None:
    stack.run("-m", "archive", "keygen", str(tmp_path / "keys"))
    signing = (f"signing.public_key={tmp_path / 'keys' / 'signing.pub'}", "signing.required=true")
    signed = tmp_path / "signed"
    stack.run(
        "-m",
        "serialize",
        "served_model=cartpole",
        f"signing.key={tmp_path / 'keys' / 'signing.key'}",
        f"paths.archives={signed}",
    )
    [before] = registered(settings)
    places = (f"paths.archives={signed}", f"store.folder={stack.archives}", f"engine.unpacked={tmp_path / 'nowhere'}")
    words = ("upload_model.py", "served_model=cartpole", *QUICK, *places, f"{DELAY}=71")
    line = stack.run(*words, *signing, status=1).strip().splitlines()[-1]
    assert "signing.required is true, but the engine's own copy cannot be compared with the checked archive" in line
    assert "name it as engine.unpacked" in line
    assert registered(settings) == [before]
    printed = stack.run(*words)
    assert "was not compared with the checked archive" in printed
    assert "serves now" in printed
    printed = stack.run("upload_model.py", "served_model=cartpole", *QUICK, *places[:2], *signing, f"{DELAY}=72")
    assert "files of the checked archive" in printed
