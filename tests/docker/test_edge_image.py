"""The edge's image, as far as it runs without a container: its configuration in this machine's nginx, with Lua."""

import contextlib
import dataclasses
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge import conf_lines, luajit, site
from edge.lua_source import policy_folder
from edge.programs import nginx_program
from settings import load
from settings.load import ROOT
from tests.docker.dockerfile import Dockerfile, read
from tests.edge import archives
from tests.edge.served import FIELDS, STATE, prepared

IMAGE = read(ROOT / "docker" / "Dockerfile.edge")
NETWORK = archives.spec([4, 16, 2])
TWO = {"type": "discrete", "n": 2, "start": 0}
CHECK = dataclasses.replace(IMAGE, stages=IMAGE.stages[:1])


def test_the_image_fills_in_every_placeholder_and_no_other() -> None:
    placeholders = set(re.findall(r"\$\{(\w+)\}", site.TEMPLATE.read_text()))
    rendered = next(one.rest for one in CHECK.all("RUN") if "envsubst" in one.rest)
    assert set(CHECK.env) == placeholders
    assert set(re.findall(r"\$\{(\w+)\}", rendered)) == placeholders


def test_the_image_answers_by_the_lines_and_limits_of_local_runs() -> None:
    edge = load([]).edge
    lines = conf_lines.scripted("", Path("/usr/share/marina"), Path("/srv/edge/policy"), edge.max_body_bytes)
    found = {name: " ".join(CHECK.env[name].split()) for name in lines}
    assert found == {name: " ".join(value.split()) for name, value in lines.items()}
    assert CHECK.env["MARINA_EDGE_BODY"] == str(edge.max_body_bytes)
    assert CHECK.env["MARINA_EDGE_BUFFER"] == str(min(edge.max_body_bytes, site.MOST_IN_MEMORY))
    assert CHECK.env["MARINA_EDGE_TIMEOUT"] == str(edge.timeout_s)
    assert CHECK.env["MARINA_EDGE_ADDRESS"].endswith(f":{IMAGE.all('EXPOSE')[0].rest}")


@pytest.mark.skipif(luajit.library() is None, reason="needs libnginx-mod-http-lua")
def test_its_configuration_serves_a_mounted_policy_and_takes_the_next_one_by_itself(tmp_path: Path) -> None:
    edge, run, mounted = prepared(tmp_path), tmp_path / "run", tmp_path / "mounted"
    _mount(tmp_path, mounted, "1.0")
    with _served(run, mounted, edge.port):
        assert edge.ask("POST", "/models/cartpole/predict", STATE).json["version"] == "1.0"
        newest = _mount(tmp_path, mounted, "1.1")
        _until(lambda: edge.ask("POST", "/models/cartpole/predict", STATE).json["version"] == "1.1")
        for _ in range(20):  # from the first answer of the new version on, no worker gives one of the old
            assert edge.ask("POST", "/models/cartpole/predict", STATE).json["version"] == "1.1"
        broken = shutil.copytree(newest, mounted / "broken")
        os.truncate(broken / "numbers.f64", 400)
        site.name_policy(mounted / "policy", "broken")
        _until(lambda: "numbers.f64 is too short" in (run / "log").read_text())
        assert edge.ask("POST", "/models/cartpole/predict", STATE).json["version"] == "1.1"


@pytest.mark.skipif(luajit.library() is None, reason="needs libnginx-mod-http-lua")
def test_without_a_policy_it_says_so_and_is_not_healthy(tmp_path: Path) -> None:
    edge = prepared(tmp_path)
    (tmp_path / "mounted").mkdir()
    with _served(tmp_path / "run", tmp_path / "mounted", edge.port, healthy=False):
        found = edge.ask("POST", "/models/cartpole/predict", STATE)
        assert (found.status, found.json["error"]) == (503, "no_worker")
        assert not _healthy(IMAGE, edge.port)


@pytest.mark.slow
@pytest.mark.skipif(luajit.library() is None, reason="needs libnginx-mod-http-lua")
def test_an_export_writes_what_the_image_reads(tmp_path: Path) -> None:
    archives.pack(tmp_path / "cartpole.mar", NETWORK, TWO, fields=FIELDS)
    edge, mounted = prepared(tmp_path), tmp_path / "mounted"
    for _ in range(2):
        assert "2000 random states agree" in edge.run("edge", "export", str(mounted))
    with _served(tmp_path / "run", mounted, edge.port):
        assert edge.ask("POST", "/models/cartpole/predict", STATE).json["version"] == "1.0"


def _mount(folder: Path, mounted: Path, version: str) -> Path:
    archive = archives.pack(folder / "cartpole.mar", NETWORK, TWO, fields=FIELDS, version=version)
    made = policy_folder(archives.policy(archive), mounted)
    site.name_policy(mounted / "policy", made.name)
    return made


@contextlib.contextmanager
def _served(run: Path, mounted: Path, port: int, *, healthy: bool = True) -> Iterator[None]:
    """This machine's nginx over the image's configuration."""
    values = CHECK.env | {
        "MARINA_EDGE_LOAD": conf_lines.lua_modules(nginx_program()),
        "MARINA_EDGE_ADDRESS": f"127.0.0.1:{port}",
        "MARINA_EDGE_RUN": str(run),
        "MARINA_EDGE_WORKERS": "2",
    }
    run.mkdir()
    text = conf_lines.render(site.TEMPLATE.read_text(), values)
    (run / "nginx.conf").write_text(text.replace("/srv/edge", str(mounted)).replace("/usr/share/marina", str(ROOT)))
    user = ("-g", "user root;") if os.getuid() == 0 else ()
    command = (nginx_program(), "-e", "stderr", "-p", str(run), "-c", str(run / "nginx.conf"), *user)
    with (run / "log").open("wb") as log:
        server = subprocess.Popen(command, stderr=log)
    try:
        _until(lambda: _healthy(IMAGE, port) if healthy else _listens(port))
        yield
    finally:
        server.terminate()
        server.wait(20)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _healthy(image: Dockerfile, port: int) -> bool:
    """What the image's own health check says."""
    told = image.all("HEALTHCHECK")[0].rest.partition("CMD ")[2]
    command = [str(word).replace("5005", str(port)) for word in json.loads(told)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def _until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)
