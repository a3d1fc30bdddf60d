import base64
import hashlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.filebrowser_server import DOCKER, NOBODY, FileBrowser, file_browser

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
CONTENT = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def browser() -> Iterator[FileBrowser]:
    with file_browser() as running:
        (running.root / "digits-1.0.mar").write_bytes(CONTENT)
        (running.root / "cartpole-2.10.mar").write_bytes(b"policy")
        (running.root / ".digits-1.1.mar.part").write_bytes(b"half an upload")
        (running.root / ".hidden.mar").write_bytes(b"hidden")
        (running.root / "notes.txt").write_text("not an archive")
        (running.root / "index.html").write_text("<script>not the page</script>")
        (running.root / "folder").mkdir()
        (running.root / "folder" / "inner.mar").write_bytes(b"inner")
        secret = running.root.parent / "secret.mar"
        secret.write_text("secret")
        (running.root / "link.mar").symlink_to(secret)
        (running.root / "etc.mar").symlink_to("/etc/hostname")
        yield running


def test_programs_get_the_list_as_json(browser: FileBrowser) -> None:
    for path in ("/", "/files/"):
        answer = browser.get(path, Accept="*/*")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("application/json")
        entries = {entry["name"]: entry for entry in json.loads(answer.body)}
        assert entries["digits-1.0.mar"]["size"] == len(CONTENT)
        assert entries["digits-1.0.mar"]["type"] == "file"
        assert not any(name.startswith(".") for name in entries)
        assert answer.headers["Vary"] == "Accept"


def test_browsers_get_the_page(browser: FileBrowser) -> None:
    for path in ("/", "/files/"):
        answer = browser.get(path, Accept=BROWSER)
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert answer.body == (DOCKER / "filebrowser" / "index.html").read_bytes()


def test_a_browser_gets_json_or_a_plain_list_where_it_asks_for_it(browser: FileBrowser) -> None:
    assert json.loads(browser.get("/files/?format=json", Accept=BROWSER).body)
    plain = browser.get("/files/?format=plain", Accept=BROWSER)
    assert plain.headers["Content-Type"].startswith("text/html")
    assert b'href="digits-1.0.mar"' in plain.body


def test_an_archive_is_served_whole_with_its_type_and_etag(browser: FileBrowser) -> None:
    answer = browser.get("/files/digits-1.0.mar")
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Cache-Control"] == "no-cache"
    assert answer.headers["ETag"]
    head = browser.get("/files/digits-1.0.mar", method="HEAD")
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(CONTENT)))


def test_what_is_told_of_a_published_archive_is_served_as_json(browser: FileBrowser) -> None:
    (browser.root / "digits-1.0.json").write_text('{"sha256": "0"}')
    (browser.root / "secrets.json").write_text("{}")
    answer = browser.get("/files/digits-1.0.json")
    assert (answer.status, json.loads(answer.body)) == (200, {"sha256": "0"})
    assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert browser.get("/files/secrets.json").status == 404


def test_an_archive_is_served_in_ranges(browser: FileBrowser) -> None:
    part = browser.get("/files/digits-1.0.mar", Range="bytes=100-199")
    assert (part.status, part.body) == (206, CONTENT[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(CONTENT)}"
    assert browser.get("/files/digits-1.0.mar", Range="bytes=-10").body == CONTENT[-10:]
    assert browser.get("/files/digits-1.0.mar", Range="bytes=999999-").status == 416


def test_a_range_is_continued_only_while_the_archive_is_the_same(browser: FileBrowser) -> None:
    etag = browser.get("/files/digits-1.0.mar").headers["ETag"]
    assert browser.get("/files/digits-1.0.mar", Range="bytes=5-9", If_Range=etag).status == 206
    assert browser.get("/files/digits-1.0.mar", Range="bytes=5-9", If_Range='"other"').status == 200


def test_an_unchanged_archive_is_not_sent_again(browser: FileBrowser) -> None:
    etag = browser.get("/files/digits-1.0.mar").headers["ETag"]
    again = browser.get("/files/digits-1.0.mar", If_None_Match=etag)
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    "path",
    [
        "/files/absent.mar",
        "/files/.hidden.mar",
        "/files/.digits-1.1.mar.part",
        "/files/notes.txt",
        "/files/index.html",
        "/files/folder",
        "/files/folder/",
        "/files/folder/inner.mar",
        "/files/link.mar",
        "/files/etc.mar",
        "/digits-1.0.mar",
        "/index.html",
        "/.listing/page",
        "/.listing/json/",
        "/.listing/json/digits-1.0.mar",
    ],
)
def test_what_is_no_archive_is_not_found(browser: FileBrowser, path: str) -> None:
    answer = browser.get(path, Accept=BROWSER)
    assert answer.status == 404
    assert json.loads(answer.body)["error"] == "not_found"


@pytest.mark.parametrize(
    "path",
    [
        "/files/../secret.mar",
        "/files/..%2fsecret.mar",
        "/files/%2e%2e/secret.mar",
        "/files/%2e%2e%2fsecret.mar",
        "/files/..%5csecret.mar",
        "/files/folder/../../secret.mar",
        "//files/../../etc/passwd",
        "/files//etc/passwd",
        "/files/digits-1.0.mar/",
        "/files/digits-1.0.mar%00.mar",
        "/files/%0a.mar",
    ],
)
def test_no_path_leads_out_of_the_folder(browser: FileBrowser, path: str) -> None:
    assert browser.raw(path) in {400, 404}


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "MOVE"])
@pytest.mark.parametrize("path", ["/", "/files/digits-1.0.mar", "/files/new.mar", "/healthz"])
def test_nothing_can_be_changed(browser: FileBrowser, method: str, path: str) -> None:
    answer = browser.get(path, method=method)
    assert answer.status == 405
    assert answer.headers["Allow"] == "GET, HEAD"
    assert json.loads(answer.body)["error"] == "method_not_allowed"
    assert (browser.root / "digits-1.0.mar").read_bytes() == CONTENT


def test_a_put_where_it_is_switched_on_publishes_a_new_archive_whole() -> None:
    with file_browser(put=True) as running:
        assert running.put("/files/digits-1.0.mar", CONTENT) == 201
        assert running.get("/files/digits-1.0.mar").body == CONTENT
        assert running.put("/files/digits-1.0.mar", b"another") == 409
        assert running.get("/files/digits-1.0.mar").body == CONTENT
        for path in ("/files/notes.txt", "/files/.x.mar", "/files/a/b.mar", "/healthz", "/", "/files/x.json"):
            assert running.put(path, b"x") == 405
        assert running.get("/files/digits-1.0.mar", method="DELETE").status == 405
        assert [file.name for file in running.root.iterdir()] == ["digits-1.0.mar"]


KEY = "0123456789abcdef" * 4


def test_where_a_key_is_set_only_who_has_it_may_put() -> None:
    with file_browser(key=KEY) as running:
        for wrong in (None, "", KEY[:-1], KEY + "0", "yes", "fedcba9876543210" * 4):
            assert running.put("/files/digits-1.0.mar", CONTENT, wrong) == 401
        assert list(running.root.iterdir()) == []
        assert running.put("/files/digits-1.0.mar", CONTENT, KEY) == 201
        assert running.get("/files/digits-1.0.mar").body == CONTENT
        assert running.put("/files/digits-1.0.mar", b"another", KEY) == 409
        for path in ("/files/notes.txt", "/files/.x.mar", "/files/a/b.mar", "/", "/files/x.json"):
            assert running.put(path, b"x", KEY) == 405
        assert running.get("/files/digits-1.0.mar", method="DELETE").status == 405
        assert KEY not in (running.run / "access.log").read_text()


def test_a_put_that_breaks_off_leaves_nothing() -> None:
    with file_browser(put=True) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as client:
            client.sendall(b"PUT /files/digits-1.0.mar HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nhalf")
            client.shutdown(socket.SHUT_WR)
            while client.recv(1000):
                """Wait until nginx closes the connection."""
        assert list(running.root.iterdir()) == []
        assert running.put("/files/digits-1.0.mar", CONTENT) == 201


def test_every_answer_is_fenced_in(browser: FileBrowser) -> None:
    for path in ("/", "/files/digits-1.0.mar", "/files/absent.mar", "/healthz"):
        headers = browser.get(path, Accept=BROWSER).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"] == "nginx"


def test_the_policy_names_the_pages_own_style_and_script(browser: FileBrowser) -> None:
    policy = browser.get("/", Accept=BROWSER).headers["Content-Security-Policy"]
    page = (DOCKER / "filebrowser" / "index.html").read_text()
    for tag in ("style", "script"):
        inline = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert inline
        digest = base64.b64encode(hashlib.sha256(inline[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = (DOCKER / "filebrowser" / "index.html").read_text()
    assert not re.search(r"(https?:)?//\w[\w.-]+\.\w|@import|url\(", page)


def test_health_is_told(browser: FileBrowser) -> None:
    assert json.loads(browser.get("/healthz").body) == {"status": "healthy"}


def test_the_access_log_is_json_with_the_answers_request_id(browser: FileBrowser) -> None:
    request_id = browser.get('/files/absent.mar?a="quoted"').headers["X-Request-Id"]
    # The line is written after the answer is sent.
    deadline = time.monotonic() + 20
    lines: list[str] = []
    while not lines and time.monotonic() < deadline:
        written = (browser.run / "access.log").read_text()
        lines = [line for line in written.splitlines(keepends=True) if str(request_id) in line and line.endswith("\n")]
        time.sleep(0.01)
    assert [json.loads(line)["status"] for line in lines] == [404]


def test_an_empty_folder_is_an_empty_list() -> None:
    with file_browser() as empty:
        assert json.loads(empty.get("/").body) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a program as somebody else")
def test_it_runs_without_privileges_and_writes_only_below_its_run_folder() -> None:
    with file_browser(user=NOBODY) as running:
        (running.root / "digits-1.0.mar").write_bytes(CONTENT)
        assert running.get("/files/digits-1.0.mar").body == CONTENT
        assert {path.name for path in running.run.iterdir()} >= {"nginx.pid", "access.log"}
    assert not Path(running.run / "nginx.pid").exists()


def test_the_template_has_the_five_placeholders_and_no_other() -> None:
    placeholders = set(re.findall(r"\$\{(\w+)\}", (DOCKER / "nginx.conf").read_text()))
    assert placeholders == {f"MARINA_FILES_{name}" for name in ("ADDRESS", "ROOT", "PAGE", "PUT", "RUN")}
