"""nginx with deploy/nginx/marina.conf, on free ports and with a certificate that it signed itself."""

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from settings.load import ROOT
from tests.polling import wait_for
from tests.ports import free_port

NAME = "models.example.org"
HTTP = """
{user}
daemon off;
pid nginx.pid;
error_log stderr warn;
events {{}}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
    include {site};
}}
"""


@dataclass(frozen=True)
class Tls:
    """A running nginx; `certificate` is what clients trust."""

    http: int
    https: int
    certificate: Path

    def curl(self, *words: str, port: int | None = None) -> str:
        """What curl prints for a request to the name of the certificate."""
        number = port or self.https
        command = ["curl", "-sS", "--max-time", "60", "--cacert", str(self.certificate)]
        resolve = ["--resolve", f"{NAME}:{number}:127.0.0.1"]
        return subprocess.run([*command, *resolve, *words], capture_output=True, text=True, check=True).stdout

    def url(self, path: str) -> str:
        """An address of the server."""
        return f"https://{NAME}:{self.https}{path}"


@contextlib.contextmanager
def tls(folder: Path, gateway: str, spare: str = "5013") -> Iterator[Tls]:
    """nginx in front of the gateway on port `gateway`; `spare` is the port of the one that takes over."""
    http, https = free_port(), free_port()
    _certificate(folder)
    written = (ROOT / "deploy" / "nginx" / "marina.conf").read_text()
    changes = {
        "listen [::]:80;": "",
        "listen [::]:443 ssl http2;": "",
        "listen 80;": f"listen 127.0.0.1:{http};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{https} ssl http2;",
        "127.0.0.1:5003": f"127.0.0.1:{gateway}",
        "127.0.0.1:5013": f"127.0.0.1:{spare}",
        "/etc/ssl/marina": str(folder),
    }
    for before, after in changes.items():
        assert before in written, before
        written = written.replace(before, after)
    (folder / "marina.conf").write_text(written)
    # Started by root, nginx would hand its workers to `nobody`, who may not write here.
    user = "user root;" if os.getuid() == 0 else ""
    (folder / "nginx.conf").write_text(HTTP.format(site=folder / "marina.conf", user=user))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["nginx", "-p", str(folder), "-e", "stderr", "-c", str(folder / "nginx.conf")], stdout=log, stderr=log
        )
    try:
        wait_for(lambda: process.poll() is not None or _listens(https))
        assert process.poll() is None, (folder / "log").read_text()
        yield Tls(http, https, folder / "fullchain.pem")
    finally:
        process.terminate()
        process.wait(30)


def _certificate(folder: Path) -> None:
    key, certificate = str(folder / "privkey.pem"), str(folder / "fullchain.pem")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    name = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"]
    files = ["-days", "2", "-keyout", key, "-out", certificate]
    subprocess.run([*command, *name, *files], check=True, capture_output=True)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
