"""What an engine has fetched is compared with what was checked before a worker starts; what cannot be read is told."""

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import settings
from archive import Archive, UnpackLimits, open_archive
from archive.foreign import read_foreign
from delivery.autoscaler import resize
from delivery.checks import check_room, check_timeout, compare_copy
from delivery.rollout import remove, restore, roll_back
from engines.engine_profile import ArchiveCopy
from engines.torchserve.room import RoomReport
from errors import RolloutError
from settings.schema import EngineHostSettings
from tests.archive.made import CONTENTS, archive_at
from tests.archive.test_foreign import sealed_archive, zipped
from tests.delivery.conftest import Scene

EVIL = b"class Toy: ...\nimport os\n"
REFUSED = "the engine's copy is not the checked archive"
HIDDEN = "the engine's own copy cannot be compared with the checked archive"


@pytest.fixture
def unpacked(tmp_path: Path) -> tuple[Path, Archive]:
    """An archive, and a folder with its files."""
    archive = open_archive(archive_at(tmp_path / "toy.mar"))
    shutil.unpack_archive(archive.path, tmp_path / "unpacked", "zip")
    return tmp_path / "unpacked", archive


def write(folder: Path) -> None:
    (folder / "toy_handler.py").write_bytes(EVIL)


def add(folder: Path) -> None:
    (folder / "handlers" / "sitecustomize.py").write_bytes(b"")


def lose(folder: Path) -> None:
    (folder / "model.onnx").unlink()


def link(folder: Path) -> None:
    (folder / "model.onnx").rename(folder.parent / "elsewhere")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere")


def link_a_folder(folder: Path) -> None:
    (folder / "handlers").rename(folder.parent / "elsewhere")
    (folder / "handlers").symlink_to(folder.parent / "elsewhere")


def pipe(folder: Path) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def vanish(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (write, "toy_handler.py has other content"),
        (add, "handlers/sitecustomize.py is not in the archive"),
        (lose, "model.onnx is missing"),
        (link, "model.onnx cannot be read"),
        (link_a_folder, "handlers is not in the archive"),
        (pipe, "model.onnx has other content"),
        (vanish, "is missing"),
    ],
)
def test_compare_copy_difference_names_the_file(
    scene: Scene, unpacked: tuple[Path, Archive], change: Callable[[Path], None], words: str
) -> None:
    folder, archive = unpacked
    compare_copy(ArchiveCopy(folder), archive, scene.settings())
    change(folder)
    with pytest.raises(RolloutError, match=REFUSED) as caught:
        compare_copy(ArchiveCopy(folder), archive, scene.settings())
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def swap(place: Path) -> None:
    """Put another archive of the kit in the place of a published one; its own checksums hold."""
    version = open_archive(place).version
    manifest = CONTENTS["MAR-INF/MANIFEST.json"].replace(b'"1.0"', f'"{version}"'.encode())
    archive_at(place, {**CONTENTS, "toy_handler.py": EVIL, "MAR-INF/MANIFEST.json": manifest})


def attack(scene: Scene, host: str) -> None:
    scene.hosts[host].before_fetch = swap


def assert_only_checked_code_ran(scene: Scene) -> None:
    for host in scene.hosts.values():
        assert set(host.ran) <= {CONTENTS["toy_handler.py"]}
    assert scene.litter() == []


def test_swapped_archive_runs_in_no_operation(scene: Scene) -> None:
    attack(scene, "engine")
    with pytest.raises(RolloutError, match=rf"toy 1\.0 was not rolled out: {REFUSED}.*no version serves"):
        scene.upload(0)
    scene.hosts["engine"].before_fetch = lambda _: None
    scene.upload(1, request_params={"initial_workers": 2})
    scene.upload(2, request_params={"initial_workers": 2})
    attack(scene, "engine")
    with pytest.raises(RolloutError, match=rf"{REFUSED}.*version 1\.2 serves as before"):
        scene.upload(3)
    with pytest.raises(RolloutError, match=rf"{REFUSED}.*version 1\.2 serves as before"):
        resize("toy", 1, scene.settings())
    with pytest.raises(RolloutError, match=rf"{REFUSED}.*version 1\.2 serves as before"):
        roll_back("toy", scene.settings())
    assert scene.serving() == {"1.2"}
    assert_only_checked_code_ran(scene)


def test_restore_swapped_archive_is_refused(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.upload(0)
    scene.hosts["engine"].forget()
    attack(scene, "engine")
    assert restore(scene.settings()) == []
    assert f"toy is not restored: toy 1.0 was not rolled out: {REFUSED}" in caplog.text
    assert_only_checked_code_ran(scene)


def test_roll_out_swapped_on_one_host_is_undone_on_both(two_hosts: Scene) -> None:
    two_hosts.upload(0)
    attack(two_hosts, "b")
    with pytest.raises(RolloutError, match=rf"b: {REFUSED}.*a: 1\.0, b: 1\.0"):
        two_hosts.upload(1)
    assert two_hosts.stored() == {"toy-1.0.mar"}
    assert_only_checked_code_ran(two_hosts)


def test_restore_of_one_host_swapped_archive_is_refused(two_hosts: Scene, caplog: pytest.LogCaptureFixture) -> None:
    two_hosts.upload(0)
    two_hosts.hosts["b"].forget()
    attack(two_hosts, "b")
    restore(two_hosts.settings())
    assert f"toy is not restored: toy 1.0 was not rolled out: b: {REFUSED}" in caplog.text
    assert two_hosts.serving() == {"1.0", "nothing"}
    assert_only_checked_code_ran(two_hosts)


def hide(scene: Scene, name: str, place: str | None) -> None:
    host = scene.hosts[name]
    host.node = host.node.model_copy(update={"unpacked": place})


@pytest.mark.parametrize("place", [None, "/nowhere/models"])
def test_unreadable_copy_with_required_signatures_is_refused(any_scene: Scene, place: str | None) -> None:
    signing = any_scene.sign()
    any_scene.upload(0)
    any_scene.upload(1)
    for name in any_scene.hosts:
        hide(any_scene, name, place)
    acts: list[Callable[[], object]] = [
        lambda: any_scene.upload(2, signing=signing),
        lambda: any_scene.upload(2, signing=signing, rollout={"dry_run": True, "watch_s": 0}),
        lambda: roll_back("toy", any_scene.settings(signing=signing)),
    ]
    for act in acts:
        with pytest.raises(RolloutError, match=HIDDEN) as caught:
            act()
        assert "make the folder in which it unpacks archives readable here, and name it as" in str(caught.value)
    assert any_scene.serving() == {"1.1"}
    assert any_scene.stored() == {"toy-1.0.mar", "toy-1.1.mar"}
    assert any_scene.litter() == []
    remove("toy", any_scene.settings(signing=signing))


def test_unreadable_copy_without_required_signatures_is_a_warning(
    any_scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    for name in any_scene.hosts:
        hide(any_scene, name, None)
    any_scene.upload(0)
    told = [line for line in caplog.messages if "the engine's copy of toy 1.0 was not compared" in line]
    assert len(told) == len(any_scene.hosts)


def test_compare_copy_equal_is_logged(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        scene.upload(0)
    files = len(open_archive(scene.store / "toy-1.0.mar").files)
    assert f"the engine's copy of toy 1.0 has the {files} files of the checked archive" in caplog.messages


def test_unpacked_folder_of_another_engine_is_refused(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    host = scene.hosts["engine"]
    signing = scene.sign()
    host.unpacks_in = tmp_path / "others"
    with pytest.raises(RolloutError, match=r"nothing was unpacked in .*; it is where another engine unpacks"):
        scene.upload(0, signing=signing)
    assert scene.upload(0).version == "1.1"


def test_archive_larger_than_the_engines_room_is_refused_before_it_is_registered(tmp_path: Path) -> None:
    archive = open_archive(archive_at(tmp_path / "toy.mar", CONTENTS))
    nowhere, keys = "http://127.0.0.1:9", str(tmp_path / "key_file.json")
    host = EngineHostSettings(name="a", inference_url=nowhere, management_url=nowhere, key_file=keys)
    check_room(host, archive)  # no report: an engine without TorchServe's first process
    needed = archive.size + sum(file.size for file in archive.files)
    RoomReport("/tmp", needed, 4 * needed).write(tmp_path)
    check_room(host, archive)
    RoomReport("/tmp", needed - 1, 4 * needed).write(tmp_path)
    with pytest.raises(RolloutError, match=f"{needed:,}, packed and unpacked; raise MARINA_TS_TMP in docker/.env"):
        check_room(host, archive)


def test_register_is_called_only_by_the_steps_and_by_the_private_engine_of_an_adoption() -> None:
    root = Path(__file__).resolve().parents[2]
    texts = {path.name: path.read_text() for path in (root / "delivery").rglob("*.py")}
    found = {name: text.count("engine.register(") for name, text in texts.items() if "engine.register(" in text}
    assert found == {"steps.py": 1, "private_engine.py": 1}


def test_workers_start_only_after_the_comparison(scene: Scene) -> None:
    scene.upload(0)
    host = scene.hosts["engine"]
    found = host.default("toy")
    assert found is not None
    ran = len(host.ran)
    attack(scene, "engine")
    with pytest.raises(RolloutError, match=REFUSED):
        scene.upload(1)
    assert len(host.ran) == ran
    assert host.versions("toy") == [found]


def test_timeout_of_an_adopted_archives_file_is_the_configured_one(tmp_path: Path) -> None:
    foreign = read_foreign(zipped(tmp_path / "toy.mar"), UnpackLimits())
    sample = {"content_type": "text/plain", "body": "aGk=", "predictions": [{"answer": {"status": 200}}]}
    golden = {"tolerance": 0.1, "samples": [sample]}
    without = sealed_archive(foreign, tmp_path / "without", golden)
    stating = {"responseTimeout": 30, "startupTimeout": 120, "jobQueueSize": 5}
    with_file = sealed_archive(foreign, tmp_path / "with", golden, config=stating)
    usual = settings.load(["served_model=cartpole"])
    check_timeout(without, usual)
    with pytest.raises(RolloutError, match=r"30 s .* the configured 120 s: set .*response_timeout=30"):
        check_timeout(with_file, usual)
    check_timeout(
        with_file, settings.load(["served_model=cartpole", "served_model.request_params.response_timeout=30"])
    )
