"""A version number is given out once: after pruning, removal and a lost state folder the next one is higher."""

from pathlib import Path

import pytest

from delivery.publish import PublishedVersions, next_version, used_versions, version_order
from delivery.stores.folder import FolderStore
from deployments.serving import DeployedVersion, ServingRecord, VersionHistory
from errors import StoreError
from settings import Settings, load

SERVED = DeployedVersion("1.3", "digits-1.3.mar", batch_size=4, max_batch_delay=5, initial_workers=1)


@pytest.mark.parametrize(
    ("wanted", "taken", "expected"),
    [
        ("1.0", set(), "1.0"),
        ("1.0", {"1.0"}, "1.1"),
        ("1.0", {"1.0", "1.1", "1.3"}, "1.4"),
        ("1.5", {"1.3"}, "1.5"),
        ("2", {"2"}, "3"),
        ("1.9", {"1.9"}, "1.10"),
        ("1.0.0", {"1.0.0", "1.0"}, "1.0.1"),
        ("2.0", {"1.7"}, "2.0"),
        ("1.0", {"2.0"}, "1.0"),
    ],
)
def test_next_version_is_higher_than_its_series(wanted: str, taken: set[str], expected: str) -> None:
    assert next_version(wanted, taken) == expected


def test_versions_of_others_may_have_another_form(tmp_path: Path) -> None:
    loaded = load(["store=local", f"paths.state={tmp_path}", f"store.folder={tmp_path / 'store'}"])
    store = FolderStore(tmp_path / "store")
    assert used_versions("digits", {"1e3", "1.0"}, store, loaded) == {"1.0"}
    assert sorted(["1.10", "1e3", "1.9"], key=version_order) == ["1e3", "1.9", "1.10"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(["store=local", f"paths.state={tmp_path}", f"store.folder={tmp_path / 'store'}"])


@pytest.fixture
def store(settings: Settings) -> FolderStore:
    assert settings.store.name == "local"
    return FolderStore(Path(settings.store.folder))


def test_published_versions_are_kept_by_model(settings: Settings) -> None:
    versions = PublishedVersions.of(settings)
    assert versions.get("digits") == {}
    versions.put("digits", "1.0", "aa")
    versions.put("digits", "1.1", "bb")
    versions.put("cartpole", "1.0", "cc")
    assert PublishedVersions.of(settings).get("digits") == {"1.0": "aa", "1.1": "bb"}
    assert PublishedVersions.of(settings).get("cartpole") == {"1.0": "cc"}
    assert [file.name for file in Path(settings.paths.state).iterdir()] == ["versions.json"]


def test_used_versions_of_engine_store_record_and_file(settings: Settings, store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "built.mar").write_bytes(b"x")
    for name in ("digits-1.1.mar", "digits.mar", "digits_more-1.9.mar"):
        store.put(tmp_path / "built.mar", name)
    PublishedVersions.of(settings).put("digits", "1.2", "aa")
    ServingRecord.of(settings).put("digits", VersionHistory(SERVED))
    assert used_versions("digits", {"1.4"}, store, settings) == {"1.1", "1.2", "1.3", "1.4"}
    assert used_versions("cartpole", (), store, settings) == set()


@pytest.mark.parametrize("content", ["", "[]", '{"digits": []}', '{"digits": {"1.0": "a"'])
def test_published_versions_damaged_file_is_named(settings: Settings, content: str) -> None:
    path = Path(settings.paths.state) / "versions.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(content)
    with pytest.raises(StoreError, match=r"versions\.json is damaged; restore it from a backup, or delete it"):
        PublishedVersions.of(settings).get("digits")
