"""The manifests by Debian 13's `kubectl`, from its package unpacked in a temporary folder; nothing is installed."""

import hashlib
import lzma
import re
import subprocess
from email.parser import Parser
from pathlib import Path

import kubernetes_validate
import pytest
import requests
import yaml

from stack.kubernetes import render
from tests.docker.manifests import OVERLAYS, copied
from tests.docker.test_kubernetes import FOREIGN, NEWEST, OLDEST

RELEASE, PACKAGE = "trixie", "kubectl"
SOURCES = Path("/etc/apt")
SECONDS = 120


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The command that builds a kustomization."""
    folder = tmp_path_factory.mktemp("kubectl")
    mirror, entry = _mirror(), {}
    index = requests.get(f"{mirror}/dists/{RELEASE}/main/binary-{_architecture()}/Packages.xz", timeout=SECONDS)
    index.raise_for_status()
    for paragraph in lzma.decompress(index.content).decode().split("\n\n"):
        if paragraph.startswith(f"Package: {PACKAGE}\n"):
            entry = dict(Parser().parsestr(paragraph))
    package = requests.get(f"{mirror}/{entry['Filename']}", timeout=SECONDS)
    package.raise_for_status()
    assert hashlib.sha256(package.content).hexdigest() == entry["SHA256"]
    (folder / "kubectl.deb").write_bytes(package.content)
    subprocess.run(["dpkg-deb", "--extract", folder / "kubectl.deb", folder], check=True)
    return f"{folder / 'usr/bin/kubectl'} kustomize"


def _mirror() -> str:
    """Return the address of Debian's archive that this machine uses."""
    files = [path for path in SOURCES.rglob("*") if path.suffix in {".list", ".sources"}]
    found = re.findall(
        r"^(?:deb |URIs: ).*?(https?://\S+/debian)/?(?:\s|$)", "\n".join(map(_text, files)), re.MULTILINE
    )
    if not found:
        pytest.skip("no address of Debian's archive in /etc/apt")
    return str(found[0])


def _text(path: Path) -> str:
    return path.read_text()


def _architecture() -> str:
    return subprocess.run(["dpkg", "--print-architecture"], check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_debians_kubectl_renders_each_overlay_as_kubernetes_takes_it(client: str, overlay: str, tmp_path: Path) -> None:
    (tmp_path / "copy").mkdir()
    documents = list(yaml.safe_load_all(render(copied(tmp_path / "copy"), overlay, client)))
    assert documents
    for document in documents:
        for version in (OLDEST, NEWEST) if document["kind"] not in FOREIGN else ():
            kubernetes_validate.validate(document, version, strict=True)
