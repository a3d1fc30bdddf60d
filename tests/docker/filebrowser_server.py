"""Runs the real nginx on docker/nginx.conf, rendered for a folder of its own and a free port."""

import contextlib
import http.client
import os
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.polling import wait_for
from tests.ports import free_port

DOCKER = Path(__file__).resolve().parents[2] / "docker"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
NOBODY = 65534


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Message
    body: bytes


@dataclass(frozen=True)
class FileBrowser:
    """A running nginx over `root`."""

    port: int
    root: Path
    run: Path

    def get(self, path: str, *, method: str = "GET", **headers: str) -> Answer:
        """Send one request; underscores in the names of headers become dashes."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(f"http://127.0.0.1:{self.port}{path}", method=method, headers=named)
        try:
            with urlopen(request, timeout=10) as answer:
                return Answer(answer.status, answer.headers, answer.read())
        except HTTPError as refused:
            with refused:
                return Answer(refused.code, refused.headers, refused.read())

    def put(self, path: str, body: bytes, key: str | None = None) -> int:
        """Upload a body and return the status."""
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("PUT", path, body, headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def raw(self, path: str) -> int:
        """Return the status of a request whose path is sent unchanged."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.putrequest("GET", path, skip_accept_encoding=True)
            connection.endheaders()
            return connection.getresponse().status
        finally:
            connection.close()


def render(values: Mapping[str, str]) -> str:
    """Fill in the placeholders as envsubst does: the named ones only."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], found[0]), (DOCKER / "nginx.conf").read_text())


@contextlib.contextmanager
def file_browser(*, user: int | None = None, put: bool = False, key: str | None = None) -> Iterator[FileBrowser]:
    """Run the file browser over an empty folder, as `user` (a uid) or as the user of the tests."""
    assert NGINX is not None, "nginx is not installed: apt-get install nginx-light"
    # Not pytest's tmp_path: that is closed to the unprivileged user to whom nginx hands its workers.
    with tempfile.TemporaryDirectory(prefix="marina files ") as name:
        base = Path(name)
        base.chmod(0o755)
        root, run, page = base / "archives", base / "run", base / "page"
        root.mkdir()
        run.mkdir()
        shutil.copytree(DOCKER / "filebrowser", page)
        if key is not None:
            (run / "put_key.map").write_text(f'"Bearer {key}" yes;\n')
        if put or key is not None:
            root.chmod(0o777)  # started by root, nginx has workers of another user
        if user is not None:
            os.chown(run, user, user)
        port = free_port()
        conf = base / "nginx.conf"
        conf.write_text(
            render(
                {
                    "MARINA_FILES_ADDRESS": f"127.0.0.1:{port}",
                    "MARINA_FILES_ROOT": str(root),
                    "MARINA_FILES_PAGE": str(page),
                    "MARINA_FILES_PUT": "key" if key is not None else "on" if put else "off",
                    "MARINA_FILES_RUN": str(run),
                }
            )
        )
        command = [NGINX, "-e", "stderr", "-p", str(run), "-c", str(conf)]
        nginx = subprocess.Popen(command, user=user, stderr=subprocess.PIPE, text=True)
        try:
            wait_for(lambda: _listens(port, nginx))
            yield FileBrowser(port, root, run)
        finally:
            nginx.terminate()
            _, errors = nginx.communicate(timeout=10)
        assert "[emerg]" not in errors
        assert "[crit]" not in errors


def _listens(port: int, nginx: "subprocess.Popen[str]") -> bool:
    assert nginx.poll() is None, f"nginx ended: {nginx.stderr.read() if nginx.stderr else ''}"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
