"""Archives come from the store and from nowhere else, are checked before they are run, and lie unpacked once."""

import hashlib
import json
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archive import TrustPolicy
from archive.trust import ArchiveIdentity
from engines.python.messages import ArchiveNotFound, InvalidModelException
from engines.python.model_store import ArchiveSource, UnpackedArchive, check_archive
from engines.python.registry import Registration

MANIFEST = json.dumps({"model": {"modelName": "plain", "modelVersion": "2.0", "handler": "plain.py"}})
TRUST = TrustPolicy(10_000_000)


def archive(path: Path, manifest: str = MANIFEST, **files: str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("MAR-INF/MANIFEST.json", manifest)
        for name, content in files.items():
            made.writestr(name.replace("__", "/"), content)
    return path


class Quiet(SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/files/moved"):
            self.send_response(302)
            self.send_header("Location", "/files/plain.mar")
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[str]:
    files = tmp_path / "store" / "files"
    files.mkdir(parents=True)
    archive(files / "plain.mar")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files.parent)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/files"
    server.shutdown()
    server.server_close()


def source(store: str, folder: str | None = None, limit: int = 10_000_000) -> ArchiveSource:
    return ArchiveSource(rf"{store}/[a-z0-9.-]+\.mar(\?[a-z=0-9]+)?", folder, limit)


def test_fetch_of_the_store_returns_the_sha256(store: str, tmp_path: Path) -> None:
    sha256 = source(store).fetch(f"{store}/plain.mar", tmp_path / "got.mar")
    assert sha256 == hashlib.sha256((tmp_path / "got.mar").read_bytes()).hexdigest()
    assert check_archive(tmp_path / "got.mar", TRUST) == ArchiveIdentity("plain", "2.0")


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/files/plain.mar", "file:///etc/passwd", "../plain.mar", "plain.mar", "/etc/plain.mar", ""],
)
def test_fetch_refuses_any_other_url(store: str, tmp_path: Path, url: str) -> None:
    with pytest.raises(ArchiveNotFound, match="does not match any allowed URL"):
        source(store).fetch(url, tmp_path / "got.mar")


def test_fetch_follows_no_redirect_and_names_a_missing_file(store: str, tmp_path: Path) -> None:
    for name, status in (("moved", 302), ("missing", 404)):
        with pytest.raises(ArchiveNotFound, match=f"status {status}"):
            source(store).fetch(f"{store}/{name}.mar?x=1", tmp_path / "got.mar")


def test_fetch_error_hides_the_signature_of_a_url(store: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFound) as caught:
        source(store).fetch(f"{store}/missing.mar?signature=5ec2e7", tmp_path / "got.mar")
    assert "5ec2e7" not in str(caught.value)


def test_fetch_refuses_more_bytes_than_allowed(store: str, tmp_path: Path) -> None:
    with pytest.raises(ArchiveNotFound, match="larger than 10 bytes"):
        source(store, limit=10).fetch(f"{store}/plain.mar", tmp_path / "got.mar")


def test_fetch_file_name_comes_from_the_local_store(tmp_path: Path) -> None:
    archive(tmp_path / "plain.mar")
    local = ArchiveSource("(?!)", str(tmp_path), 1_000_000)
    assert local.fetch("plain.mar", tmp_path / "got") == hashlib.sha256((tmp_path / "got").read_bytes()).hexdigest()
    with pytest.raises(ArchiveNotFound, match="No such file"):
        local.fetch("missing.mar", tmp_path / "got")


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"..__evil.py": ""}, "leaves the folder"),
        ({"checksums.sha256": ""}, "has no model.json"),
    ],
)
def test_check_archive_refuses_an_unsafe_one(tmp_path: Path, files: dict[str, str], reason: str) -> None:
    with pytest.raises(InvalidModelException, match=reason):
        check_archive(archive(tmp_path / "bad.mar", **files), TRUST)


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"model": {"modelName": "x"}}'])
def test_check_archive_refuses_a_manifest_without_names(tmp_path: Path, manifest: str) -> None:
    with pytest.raises(InvalidModelException, match="MANIFEST"):
        check_archive(archive(tmp_path / "bad.mar", manifest), TRUST)


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("../../x", "1.0", "has the name '../../x'"),
        (".x", "1.0", "has the name '.x'"),
        ("x" * 101, "1.0", "has the name 'xx"),
        ("x\n", "1.0", "has the name"),
        ("x", "../../x", "'../../x' is not a version"),
        ("x", "9" * 5000, "is not a version"),
        ("x", "1.0-rc", "is not a version"),
        (["x"], "1.0", "names no model"),
        ("x", 1.0, "names no model"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_check_archive_refuses_bad_names_in_one_line(tmp_path: Path, name: object, version: object, words: str) -> None:
    manifest = json.dumps({"model": {"modelName": name, "modelVersion": version, "handler": "plain.py"}})
    with pytest.raises(InvalidModelException, match=words) as caught:
        check_archive(archive(tmp_path / "bad.mar", manifest), TRUST)
    assert "\n" not in str(caught.value)


def test_check_archive_accepts_names_of_other_makers(tmp_path: Path) -> None:
    manifest = json.dumps({"model": {"modelName": "My-model_2.b", "handler": "plain.py"}})
    assert check_archive(archive(tmp_path / "good.mar", manifest), TRUST) == ArchiveIdentity("My-model_2.b", "1.0")


def test_check_archive_limits_the_manifest_to_one_mebibyte(tmp_path: Path) -> None:
    full = MANIFEST + " " * (1024 * 1024 - len(MANIFEST))
    assert check_archive(archive(tmp_path / "good.mar", full), TRUST) == ArchiveIdentity("plain", "2.0")
    with pytest.raises(InvalidModelException, match="is larger than 1048576 bytes"):
        check_archive(archive(tmp_path / "bad.mar", full + " "), TRUST)


def test_check_archive_refuses_an_ambiguous_zip(tmp_path: Path) -> None:
    one, other = archive(tmp_path / "one.mar"), archive(tmp_path / "other.mar", **{"evil.py": "x"})
    one.write_bytes(other.read_bytes() + one.read_bytes())
    with pytest.raises(InvalidModelException, match=r"^Archive one\.mar is refused: has a comment, or an end"):
        check_archive(one, TRUST)


def test_check_archive_refuses_another_file(tmp_path: Path) -> None:
    (tmp_path / "bad.mar").write_bytes(archive(tmp_path / "good.mar").read_bytes()[:40])
    with pytest.raises(InvalidModelException, match="not a readable archive"):
        check_archive(tmp_path / "bad.mar", TRUST)


def test_check_archive_refuses_an_unsigned_one_where_required(tmp_path: Path) -> None:
    with pytest.raises(InvalidModelException, match="not signed"):
        check_archive(archive(tmp_path / "plain.mar"), TrustPolicy(10_000_000, required=True))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    return tmp_path / "tmp" / "archives"


def registered(tmp_path: Path, version: str = "2.0") -> Registration:
    sha256 = hashlib.sha256((tmp_path / "plain.mar").read_bytes()).hexdigest()
    return Registration("plain", version, "plain.mar", sha256, 1, 0, 60)


def test_unpacked_archive_is_shared_by_workers(tmp_path: Path, temporary: Path) -> None:
    archive(tmp_path / "plain.mar", **{"plain.py": "x = 1"})
    local = ArchiveSource("(?!)", str(tmp_path), 1_000_000)
    wanted = registered(tmp_path)
    one = UnpackedArchive(wanted, local)
    (tmp_path / "plain.mar").unlink()
    assert UnpackedArchive(wanted, local).folder == one.folder
    assert (one.folder / "plain.py").read_text() == "x = 1"


def test_unpacked_archive_without_a_worker_is_removed(tmp_path: Path, temporary: Path) -> None:
    archive(tmp_path / "plain.mar")
    local = ArchiveSource("(?!)", str(tmp_path), 1_000_000)
    gone, kept = (
        UnpackedArchive(registered(tmp_path, "1.0"), local),
        UnpackedArchive(registered(tmp_path, "1.1"), local),
    )
    gone.close()
    new = UnpackedArchive(registered(tmp_path, "1.2"), local)
    assert sorted(path.name for path in temporary.iterdir()) == sorted([kept.folder.name, new.folder.name])


def test_unpacked_archive_with_a_similar_name_is_removed(tmp_path: Path, temporary: Path) -> None:
    archive(tmp_path / "plain.mar")
    local = ArchiveSource("(?!)", str(tmp_path), 1_000_000)
    UnpackedArchive(registered(tmp_path, "1-2"), local).close()
    kept = UnpackedArchive(registered(tmp_path, "1"), local)
    assert [path.name for path in temporary.iterdir()] == [kept.folder.name]


def test_unpacked_archive_refuses_one_replaced_in_the_store(tmp_path: Path, temporary: Path) -> None:
    archive(tmp_path / "plain.mar")
    wanted = registered(tmp_path)
    archive(tmp_path / "plain.mar", **{"plain.py": "other"})
    with pytest.raises(
        InvalidModelException, match=r"plain\.mar is not the one that was checked: its sha256 is [0-9a-f]{64}"
    ):
        UnpackedArchive(wanted, ArchiveSource("(?!)", str(tmp_path), 1_000_000))
    assert list(temporary.iterdir()) == []


def test_fetch_refuses_another_sha256(tmp_path: Path) -> None:
    local, target = ArchiveSource("(?!)", str(tmp_path), 1_000_000), tmp_path / "fetched"
    sha256 = hashlib.sha256(archive(tmp_path / "plain.mar").read_bytes()).hexdigest()
    assert local.fetch("plain.mar", target) == local.fetch("plain.mar", target, sha256) == sha256
    archive(tmp_path / "plain.mar", **{"plain.py": "other"})
    with pytest.raises(InvalidModelException, match=r"^Archive plain\.mar is not the one that was checked"):
        local.fetch("plain.mar", target, sha256)


def test_unpacked_archive_refuses_a_folder_that_others_may_write(tmp_path: Path, temporary: Path) -> None:
    archive(tmp_path / "plain.mar")
    temporary.mkdir(parents=True)
    temporary.chmod(0o777)
    with pytest.raises(InvalidModelException, match=f"others may write to {temporary}"):
        UnpackedArchive(registered(tmp_path), ArchiveSource("(?!)", str(tmp_path), 1_000_000))
    temporary.rmdir()
    (tmp_path / "elsewhere").mkdir()
    temporary.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidModelException, match=f"others may write to {temporary}"):
        UnpackedArchive(registered(tmp_path), ArchiveSource("(?!)", str(tmp_path), 1_000_000))
