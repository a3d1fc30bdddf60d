"""Archives go into the file browser by HTTP with its key; without the key nothing does, and no word tells it."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from delivery.stores import store_keys
from delivery.stores.nginx import FileBrowserStore
from errors import StoreError
from settings.schema import NginxStoreSettings
from tests.archive.made import archive_at
from tests.docker.filebrowser_server import FileBrowser as Running
from tests.docker.filebrowser_server import file_browser

KEY = "0123456789abcdef" * 4


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with file_browser(key=KEY) as started:
        yield started


def store(running: Running, folder: Path, key: str) -> FileBrowserStore:
    (folder / "key").write_text(f"{key}\n")
    place = {"host": "127.0.0.1", "port": running.port, "folder": str(running.root)}
    return FileBrowserStore(NginxStoreSettings(name="nginx", put_key_file=str(folder / "key"), **place))


def test_upload_with_key_publishes_once_with_description(running: Running, tmp_path: Path) -> None:
    source = archive_at(tmp_path / "toy.mar")
    sender = store(running, tmp_path, KEY)
    sender.upload(source, "toy-1.0.mar")
    assert running.get("/files/toy-1.0.mar").body == source.read_bytes()
    assert json.loads(running.get("/files/toy-1.0.json").body)["version"] == "1.0"
    with pytest.raises(StoreError, match="exists already, and a published one is never replaced"):
        sender.upload(source, "toy-1.0.mar")


def test_another_key_is_refused_and_neither_is_told(running: Running, tmp_path: Path) -> None:
    wrong = "fedcba9876543210" * 4
    with pytest.raises(StoreError, match="does not accept the key") as caught:
        store(running, tmp_path, wrong).upload(archive_at(tmp_path / "toy.mar"), "toy-1.1.mar")
    told = str(caught.value) + (running.run / "access.log").read_text()
    assert wrong not in told
    assert KEY not in told
    assert running.get("/files/toy-1.1.mar").status == 404


def test_a_file_browser_that_is_away_is_named(tmp_path: Path) -> None:
    with file_browser(key=KEY) as gone:
        sender = store(gone, tmp_path, KEY)
    with pytest.raises(StoreError, match="the upload broke off"):
        sender.upload(archive_at(tmp_path / "toy.mar"), "toy-1.0.mar")


def test_the_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "key"
    made = store_keys.make_upload_key(path)
    assert store_keys.make_upload_key(path) == store_keys.read_upload_key(path) == made
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("content", ["", "short", "0123456789abcdef" * 9, '" yes; default yes; #' * 3])
def test_what_is_no_key_is_refused_without_its_words(tmp_path: Path, content: str) -> None:
    (tmp_path / "key").write_text(content)
    with pytest.raises(StoreError, match="holds no key") as caught:
        store_keys.make_upload_key(tmp_path / "key")
    assert not content or content not in str(caught.value)


def test_a_key_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="make up"):
        store_keys.read_upload_key(tmp_path / "absent")
