"""A disk that is full, closed or has something in the way: one line with the file, and nothing is left half.

A limit on file sizes stops a write in the middle, as a full disk does, and needs no right to mount one.
"""

import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

import upload_model
from archive import stamp
from delivery import publish
from delivery.model_keeper import keep
from delivery.publish import PublishedVersions
from delivery.rollout import roll_back
from delivery.stores import store_keys
from errors import MarinaError, RolloutError, StoreError
from settings import load
from tests.delivery.conftest import Scene

ROOM = "raise the limit on the size of files (`ulimit -f`), then run the command again"


def fill(limit: int) -> None:
    """No file can grow beyond `limit` bytes from now on."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))


@contextmanager
def full(limit: int) -> Iterator[None]:
    fill(limit)
    try:
        yield
    finally:
        free()


def free() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


@pytest.fixture(autouse=True)
def room() -> Iterator[None]:
    yield
    free()


def assert_one_line(error: pytest.ExceptionInfo[MarinaError], file: str) -> None:
    line = str(error.value)
    assert "\n" not in line
    assert f"{file}: File too large; {ROOM}" in line


def assert_as_before(scene: Scene) -> None:
    """The first version serves, nothing half is left, and the next upload works."""
    assert scene.serving() == {"1.0"}
    assert scene.history() == ["1.0"]
    assert scene.stored() == {"toy-1.0.mar"}
    assert scene.litter() == []
    assert all(len(host.versions("toy")) == 1 for host in scene.hosts.values())
    scene.upload(9)
    assert scene.serving() not in ({"1.0"}, {"nothing"})
    assert scene.litter() == []


@pytest.mark.parametrize(("limit", "file"), [(0, "toy.json"), (2000, "toy-1.1.mar")], ids=["journal", "stamping"])
def test_a_disk_that_is_full_from_the_start_is_one_line(any_scene: Scene, limit: int, file: str) -> None:
    any_scene.upload(0)
    with full(limit), pytest.raises(RolloutError) as caught:
        any_scene.upload(1)
    assert_one_line(caught, file)
    assert "was not rolled out" in str(caught.value)
    assert_as_before(any_scene)


def test_a_store_that_is_full_is_one_line_and_leaves_the_state_as_it_was(scene: Scene) -> None:
    scene.upload(0)
    put = PublishedVersions.put
    # The archive is stamped in the state folder, and then there is no more room for its copy.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PublishedVersions, "put", lambda *given: then_fill(put, 2000)(*given))
        with pytest.raises(RolloutError) as caught:
            scene.upload(1)
    free()
    assert_one_line(caught, str(scene.store / "toy-1.1.mar"))
    assert_as_before(scene)


def test_a_full_list_of_versions_is_one_line(scene: Scene) -> None:
    scene.upload(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish, "stamp", then_fill(stamp, 10))
        with pytest.raises(RolloutError) as caught:
            scene.upload(1)
    free()
    assert_one_line(caught, str(scene.state / "versions.json"))
    assert_as_before(scene)


@pytest.mark.parametrize("moment", ["register", "scale", "warm"])
def test_a_disk_that_fills_before_the_switch_leaves_the_old_version(any_scene: Scene, moment: str) -> None:
    any_scene.upload(0)
    with filled_at(any_scene, moment), pytest.raises(RolloutError) as caught:
        any_scene.upload(1)
    assert_one_line(caught, "toy.json")
    assert_as_before(any_scene)


@contextmanager
def filled_at(scene: Scene, method: str) -> Iterator[None]:
    """The disk is full as soon as a host has been asked this, until the block ends."""
    with pytest.MonkeyPatch.context() as patch:
        for host in scene.hosts.values():
            patch.setattr(host, method, then_fill(getattr(host, method), 0))
        try:
            yield
        finally:
            free()


def then_fill(real: Callable[..., object], limit: int) -> Callable[..., object]:
    def filled(*given: object) -> object:
        found = real(*given)
        fill(limit)
        return found

    return filled


@pytest.mark.parametrize("moment", ["set_default", "drain"])
def test_a_disk_that_fills_after_the_switch_is_told_and_the_next_rollout_finishes_it(scene: Scene, moment: str) -> None:
    scene.upload(0)
    with filled_at(scene, moment), pytest.raises(RolloutError) as caught:
        scene.upload(1)
    assert_one_line(caught, "toy.json")
    assert "toy 1.1 serves, but is not settled" in str(caught.value)
    assert scene.upload(1).version == "1.1"
    assert (scene.serving(), scene.history()) == ({"1.1"}, ["1.1", "1.0"])
    assert scene.litter() == []


def file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(path, ignore_errors=True)
    path.touch()


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    (path / "with" / "content").mkdir(parents=True)


IN_THE_WAY = [
    ("state/rollouts/toy.json", folder),
    ("state/rollouts/toy.lock", folder),
    ("state/rollouts", file),
    ("state/rollouts/.toy.stamp.build", file),
    ("state/serving.json", folder),
    ("state/versions.json", folder),
    ("state/traffic.json", folder),
    ("state", file),
    ("store", file),
    ("store/.toy-1.1.mar.build", file),
]


@pytest.mark.parametrize(("place", "obstacle"), IN_THE_WAY, ids=[f"{what.__name__} {at}" for at, what in IN_THE_WAY])
def test_what_is_in_the_way_is_named_and_runs_nothing(
    scene: Scene, place: str, obstacle: Callable[[Path], None]
) -> None:
    scene.upload(0)
    obstacle(scene.folder / place)
    with pytest.raises(MarinaError) as caught:
        scene.upload(1)
    line = str(caught.value)
    assert "\n" not in line
    assert f"{scene.folder / place}: " in line
    assert "has this name; move it away" in line
    assert scene.serving() == {"1.0"}
    assert len(scene.hosts["engine"].ran) == 1


# Nobody may make a folder there, whoever runs the tests.
CLOSED = "/sys/kernel/marina"


@pytest.mark.parametrize("setting", ["paths.state", "store.folder"])
def test_a_folder_that_is_closed_ends_the_command_in_one_line(
    scene: Scene, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    shutil.copy(scene.built, scene.built.with_name("cartpole.mar"))
    places = [f"paths.state={scene.state}", "store=local", f"store.folder={scene.store}"]
    words = ["served_model=cartpole", *places, f"paths.archives={scene.built.parent}", f"{setting}={CLOSED}"]
    assert upload_model.main(words) == 1
    printed = capsys.readouterr().err.splitlines()[-1]
    assert printed.startswith("error: ")
    assert CLOSED in printed
    assert "let this user read and write there" in printed or "mount its disk for writing" in printed
    assert scene.serving() == {"nothing"}


def test_a_rollback_on_a_full_disk_is_one_line(any_scene: Scene) -> None:
    any_scene.upload(0)
    any_scene.upload(1)
    with full(0), pytest.raises(RolloutError) as caught:
        roll_back("toy", any_scene.settings())
    assert_one_line(caught, "toy.json")
    assert any_scene.serving() == {"1.1"}
    assert any_scene.litter() == []
    assert roll_back("toy", any_scene.settings()).version == "1.0"


@pytest.mark.parametrize("make", [store_keys.make_upload_key, store_keys.make_s3_credentials])
def test_a_key_file_on_a_full_disk_is_whole_or_not_there(tmp_path: Path, make: Callable[[Path], object]) -> None:
    path = tmp_path / "keys" / "key"
    with full(10), pytest.raises(StoreError) as caught:
        make(path)
    assert_one_line(caught, str(path))
    assert list(path.parent.iterdir()) == []
    made = make(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert make(path) == made


def test_a_keeper_whose_folder_is_in_the_way_says_so_and_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = tmp_path / "state"
    state.touch()
    stop = Event()

    class Once(Event):
        def wait(self, timeout: float | None = None) -> bool:
            stop.set()
            return True

    once = Once()
    once.is_set = stop.is_set  # type: ignore[method-assign]
    keep(load([f"paths.state={state}"]), once, 0.01)
    assert f"nothing is restored yet: {state}: " in caplog.text
