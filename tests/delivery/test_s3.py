"""Archives in a real S3 server, and in servers that break: whole or not at all, and one line that says why."""

import gc
import json
import os
import re
import resource
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
import requests

from delivery.stores import store_keys
from delivery.stores.s3 import S3Bucket
from errors import StoreError
from settings.schema import S3StoreSettings
from stack import store_servers
from tests.ports import free_port
from tests.small_disk import small_disk

NAME = "digits-1.0.mar"


@pytest.fixture(autouse=True)
def no_keys_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)


def settings_of(folder: Path, port: int, timeout_s: float = 20) -> S3StoreSettings:
    return S3StoreSettings(
        name="s3",
        endpoint=f"http://127.0.0.1:{port}",
        bucket="models",
        region="us-east-1",
        credentials=str(folder / "credentials.json"),
        presign_s=60,
        timeout_s=timeout_s,
        cache=str(folder / "cache"),
        local_folder=str(folder / "data"),
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3StoreSettings]:
    """The stack's own S3 server."""
    store = settings_of(tmp_path_factory.mktemp("s3"), free_port())
    store_servers.prepare_bucket(store)
    server = subprocess.Popen(
        store_servers.rclone_command(store),
        env=os.environ | store_servers.rclone_environment(store),
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 30
        while not answers(store):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield store
    finally:
        server.terminate()
        server.wait()


def answers(store: S3StoreSettings) -> bool:
    try:
        return requests.get(store.endpoint, timeout=2).status_code < 500
    except requests.RequestException:
        return False


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "built.mar"
    path.write_bytes(b"archive" * 3_000_000)  # more than one part of an upload
    return path


def test_s3_put_url_remove(served: S3StoreSettings, source: Path) -> None:
    bucket = S3Bucket(served)
    assert bucket.path(NAME) is None
    bucket.put(source, NAME)
    url = bucket.url(NAME)
    assert re.fullmatch(served.allowed_urls, url)
    assert requests.get(url, timeout=30).content == source.read_bytes()
    copy = bucket.path(NAME)
    assert copy is not None
    assert copy.read_bytes() == source.read_bytes()
    assert copy.name == NAME
    bucket.remove(NAME)
    bucket.remove(NAME)
    assert bucket.path(NAME) is None
    assert not copy.exists()


def test_s3_versions_are_those_listed(served: S3StoreSettings, tmp_path: Path) -> None:
    bucket, small = S3Bucket(served), tmp_path / "small.mar"
    small.write_bytes(b"archive")
    for name in ("toy-1.0.mar", "toy-1.12.mar", "toy.mar", "toy_two-3.0.mar"):
        bucket.put(small, name)
    assert bucket.versions("toy") == {"1.0", "1.12"}
    assert bucket.versions("toy_two") == {"3.0"}
    assert bucket.versions("nobody") == set()


def test_s3_cache_full_disk_is_one_line_without_litter(served: S3StoreSettings, source: Path) -> None:
    bucket = S3Bucket(served)
    bucket.put(source, "full-1.0.mar")
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(StoreError, match=rf"^{served.cache}/full-1\.0\.mar: File too large; raise the limit"):
            bucket.path("full-1.0.mar")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not [path for path in Path(served.cache).iterdir() if "full" in path.name]
    assert bucket.path("full-1.0.mar") is not None


def test_a_copy_that_differs_from_the_store_is_fetched_again(served: S3StoreSettings, source: Path) -> None:
    bucket = S3Bucket(served)
    bucket.put(source, "cartpole-1.0.mar")
    copy = bucket.path("cartpole-1.0.mar")
    assert copy is not None
    copy.write_bytes(b"turned over")
    again = bucket.path("cartpole-1.0.mar")
    assert again is not None
    assert again.read_bytes() == source.read_bytes()


def test_without_a_signature_or_with_another_nothing_is_given(served: S3StoreSettings, source: Path) -> None:
    bucket = S3Bucket(served)
    bucket.put(source, NAME)
    bare, _, query = bucket.url(NAME).partition("?")
    assert requests.get(bare, timeout=30).status_code in {400, 403}
    assert requests.get(f"{bare}?{query[:-4]}0000", timeout=30).status_code == 403
    assert store_keys.read_s3_credentials(Path(served.credentials)).secret_key not in bucket.url(NAME)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:1/models/digits-1.0.mar?X-Amz-Signature=0",
        "{endpoint}/other/digits-1.0.mar?X-Amz-Signature=0",
        "{endpoint}/models/../digits-1.0.mar?X-Amz-Signature=0",
        "{endpoint}@evil/models/digits-1.0.mar?X-Amz-Signature=0",
        "{endpoint}/models/digits-1.0.mar",
        "{endpoint}/models/digits-1.0.mar?a=http://elsewhere/x.mar",
    ],
)
def test_the_engine_may_fetch_nothing_else(served: S3StoreSettings, url: str) -> None:
    assert re.fullmatch(served.allowed_urls, url.format(endpoint=served.endpoint)) is None


def test_s3_wrong_keys_or_bucket_are_one_line_without_secret(
    served: S3StoreSettings, source: Path, tmp_path: Path
) -> None:
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps({"access_key": "somebody1", "secret_key": "secretsecret"}))
    with pytest.raises(StoreError, match="the store says") as caught:
        S3Bucket(served.model_copy(update={"credentials": str(wrong)})).put(source, NAME)
    assert "secretsecret" not in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(StoreError, match="the store says"):
        S3Bucket(served.model_copy(update={"bucket": "nowhere"})).put(source, NAME)


def test_s3_without_credentials_names_the_ways(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or"):
        S3Bucket(settings_of(tmp_path, 1))


def test_s3_each_bucket_has_its_own_session_for_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)
    store = settings_of(tmp_path, 1)
    store_keys.make_s3_credentials(Path(store.credentials))
    S3Bucket(store)
    assert boto3.DEFAULT_SESSION is None


def test_a_store_that_is_not_there_is_named(tmp_path: Path, source: Path) -> None:
    store = settings_of(tmp_path, free_port())
    store_keys.make_s3_credentials(Path(store.credentials))
    with pytest.raises(StoreError, match=rf"{store.endpoint}/models/{NAME}: "):
        S3Bucket(store).put(source, NAME)


Behave = Callable[[BaseHTTPRequestHandler], None]


def full_disk(request: BaseHTTPRequestHandler) -> None:
    request.rfile.read(int(request.headers.get("Content-Length", 0)))
    body = b"<Error><Code>InsufficientStorage</Code><Message>no space left on device</Message></Error>"
    request.send_response(507)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def hang_up_in_the_middle(request: BaseHTTPRequestHandler) -> None:
    request.rfile.read(1000)
    request.connection.shutdown(socket.SHUT_RDWR)


def never_answer(request: BaseHTTPRequestHandler) -> None:
    threading.Event().wait(3)


def answer_half(request: BaseHTTPRequestHandler) -> None:
    """Takes an upload, and breaks off when it is read back."""
    request.rfile.read(int(request.headers.get("Content-Length", 0)))
    request.send_response(200)
    request.send_header("Content-Length", "0" if request.command != "GET" else "1000")
    request.send_header("ETag", '"0"')
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(b"half")


def answer_another_archive(request: BaseHTTPRequestHandler) -> None:
    request.rfile.read(int(request.headers.get("Content-Length", 0)))
    request.send_response(200)
    request.send_header("Content-Length", "0" if request.command != "GET" else "7")
    request.send_header("ETag", '"0"')
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(b"another")


@contextmanager
def misbehaving(behave: Behave) -> Iterator[tuple[int, list[str]]]:
    """A server that does `behave` at each request; yields its port and the requests it got."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def any(self) -> None:
            asked.append(f"{self.command} {self.path.partition('?')[0]}")
            behave(self)
            self.close_connection = True

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    for method in ("GET", "PUT", "HEAD", "DELETE", "POST"):
        setattr(Handler, f"do_{method}", Handler.any)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_address[1], asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("behave", "words"),
    [
        (full_disk, "the store says no space left on device"),
        (hang_up_in_the_middle, "onnection"),
        (never_answer, "did not answer in 0.5 s"),
        (answer_half, "4 read, but total bytes expected is 1000"),
        (answer_another_archive, "after the upload instead of .*; removed"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_store_that_breaks_is_told_in_one_line(tmp_path: Path, behave: Behave, words: str) -> None:
    source = tmp_path / "small.mar"
    source.write_bytes(b"archive" * 1000)
    with misbehaving(behave) as (port, asked):
        store = settings_of(tmp_path, port, timeout_s=0.5)
        store_keys.make_s3_credentials(Path(store.credentials))
        with pytest.raises(StoreError, match=words) as caught:
            S3Bucket(store).put(source, NAME)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{store.endpoint}/models/{NAME}")
    if behave in (answer_half, answer_another_archive):
        assert f"DELETE /models/{NAME}" in asked
    assert not (tmp_path / "cache" / NAME).exists()


def test_s3_copy_is_fetched_although_the_cache_is_full(served: S3StoreSettings, source: Path) -> None:
    bucket = S3Bucket(served)
    bucket.put(source, "spare-1.0.mar")
    Path(served.cache).mkdir(exist_ok=True)
    with small_disk(Path(served.cache), kind="ext4") as disk:
        disk.fill()
        copy = bucket.path("spare-1.0.mar")
        assert copy is not None
        assert copy.read_bytes() == source.read_bytes()
        assert copy.parent != Path(served.cache)
    del bucket
    gc.collect()
    assert not copy.exists()
