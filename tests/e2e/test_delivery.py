"""Archives reach the engine through the file browser, and the old version serves until the new one has answered."""

import shutil
import signal
from pathlib import Path

import pytest
import requests

import engines
from archive import open_archive
from errors import EngineError
from settings import Settings
from settings.schema import RegistrationSettings
from tests.e2e.clients import STATE, asking
from tests.e2e.conftest import Stack
from tests.polling import wait_for

pytestmark = pytest.mark.e2e
BATCH = "served_model.request_params.batch_size"


def versions(settings: Settings) -> list[str]:
    with engines.connect(settings) as engine:
        return [found.version for found in engine.versions("cartpole")]


def ask(stack: Stack) -> requests.Response:
    return requests.post(f"{stack.gateway}/predict", json=STATE, timeout=30)


def test_the_file_browser_lists_and_serves_what_was_built(stack: Stack) -> None:
    listed = {entry["name"] for entry in requests.get(stack.files, timeout=10).json()}
    assert {"digits.mar", "cartpole.mar"} <= listed
    [published] = [name for name in listed if name.startswith("cartpole-") and name.endswith("1.0.mar")]
    told = requests.get(f"{stack.files}/files/{published.replace('.mar', '.json')}", timeout=10).json()
    assert told["sha256"] == open_archive(stack.archives / published).sha256
    assert told["card"]["model_name"] == "cartpole"
    page = requests.get(stack.files, headers={"Accept": "text/html"}, timeout=10)
    assert page.headers["Content-Type"].startswith("text/html")
    part = requests.get(f"{stack.files}/files/digits.mar", headers={"Range": "bytes=0-3"}, timeout=10)
    assert (part.status_code, part.content) == (206, b"PK\x03\x04")


def test_uploading_what_serves_already_changes_nothing(stack: Stack, settings: Settings) -> None:
    before = versions(settings)
    assert "serves already" in stack.run("upload_model.py", "served_model=cartpole")
    assert versions(settings) == before


def test_a_change_of_batch_settings_is_a_new_version_without_a_lost_request(stack: Stack, settings: Settings) -> None:
    before = versions(settings)
    with asking(f"{stack.gateway}/predict") as answers:
        printed = stack.run("upload_model.py", "served_model=cartpole", f"{BATCH}=8")
    assert "serves now" in printed
    after = versions(settings)
    assert len(after) == 1
    assert after != before
    assert len(answers.seen) > 100
    assert answers.statuses == {200}
    with engines.connect(settings) as engine:
        default = engine.default("cartpole")
    assert default is not None
    assert default.batch_size == 8
    assert "serves again" in stack.run("-m", "delivery", "rollback", "served_model=cartpole")
    assert versions(settings) == before
    assert ask(stack).status_code == 200


def test_a_killed_upload_leaves_the_old_version_and_the_next_one_clears_up(stack: Stack, settings: Settings) -> None:
    before = versions(settings)
    upload = stack.start("upload_model.py", "served_model=cartpole", f"{BATCH}=32")
    wait_for(lambda: len(versions(settings)) >= 2 or upload.poll() is not None)
    assert upload.poll() is None, upload.communicate()[0]
    upload.send_signal(signal.SIGKILL)
    upload.communicate()
    assert ask(stack).status_code == 200
    stack.run("upload_model.py", "served_model=cartpole", f"{BATCH}=24")
    stack.run("upload_model.py", "served_model=cartpole")
    assert len(versions(settings)) == 1
    assert len(before) == 1


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/files/x-1.0.mar", "file:///etc/hostname", "http://127.0.0.1/files/x-1.0.mar"]
)
def test_the_engine_fetches_from_the_store_only(settings: Settings, url: str) -> None:
    params = RegistrationSettings(batch_size=1, max_batch_delay=0, initial_workers=1)
    with engines.connect(settings) as engine, pytest.raises(EngineError, match="does not match any allowed URL"):
        engine.register("stranger", url, params, 60)


def test_a_model_that_was_not_built_says_how_to_build_it(stack: Stack, tmp_path: Path) -> None:
    printed = stack.run("upload_model.py", "served_model=weather", f"paths.archives={tmp_path}", status=1)
    assert "make generate_mar MODEL=weather" in printed


def test_an_archive_is_put_into_the_store_once(stack: Stack, archives: Path, tmp_path: Path) -> None:
    assert "in the store already" in stack.run("-m", "delivery", "put", str(archives / "digits.mar"))
    copy = shutil.copy(archives / "digits.mar", tmp_path / "copy.mar")
    printed = stack.run("-m", "delivery", "put", str(copy))
    assert open_archive(archives / "digits.mar").sha256 in printed
    assert "No such file" in stack.run("-m", "delivery", "put", str(tmp_path / "nothing.mar"), status=1)
