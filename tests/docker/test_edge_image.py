"""The edge's image, as far as it runs without a container: its configuration and compiler, in this machine's nginx."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from string import Template

import numpy as np
import pytest

from edge import nginx_server
from edge.c_source import policy_header
from edge.compiler import compile_folder, nginx_program
from edge.edge_policy import EdgePolicy
from handlers.card import Observation
from handlers.spaces import Box, Discrete
from settings.load import ROOT, load
from tests.docker.dockerfile import Dockerfile, lay_out, read
from tests.edge import archives
from tests.edge.served import NGINX_DEV, STATE, Served, prepared
from tests.polling import wait_for

FILE = ROOT / "docker" / "Dockerfile.edge"
IMAGE, COMPILER, CHECK = read(FILE), read(FILE, "module"), read(FILE, "check")
SAMPLE = ROOT / "docker" / "edge" / "sample_policy.h"
MODEL = "/models/cartpole/predict"


def test_the_image_fills_in_every_placeholder_and_no_other() -> None:
    placeholders = set(re.findall(r"\$\{(\w+)\}", nginx_server.TEMPLATE.read_text()))
    rendered = next(one.rest for one in CHECK.all("RUN") if "envsubst" in one.rest)
    assert set(CHECK.env) == placeholders
    assert set(re.findall(r"\$\{(\w+)\}", rendered)) == placeholders


def test_the_image_answers_by_the_limits_of_local_runs() -> None:
    edge = load([]).edge
    assert CHECK.env["MARINA_EDGE_BODY"] == str(edge.max_body_bytes)
    assert CHECK.env["MARINA_EDGE_BUFFER"] == str(min(edge.max_body_bytes, nginx_server.MOST_IN_MEMORY))
    assert CHECK.env["MARINA_EDGE_TIMEOUT"] == str(edge.timeout_s)
    assert CHECK.env["MARINA_EDGE_ADDRESS"].endswith(f":{IMAGE.all('EXPOSE')[0].rest}")


def test_compiler_check_and_image_share_one_nginx_and_the_compiler_has_its_version() -> None:
    assert {stage[0].words[0] for stage in IMAGE.stages[1:]} == {"nginx"}
    sources = read(FILE, "sources")
    assert any("nginx-dev=$(dpkg-query -W -f '${Version}' nginx)" in one.rest for one in sources.all("RUN"))
    copied = [one.words[1] for one in COMPILER.all("COPY") if one.words[0] == "--from=sources"]
    assert copied == ["/usr/share/nginx/src", "/usr/share/marina/headers"]
    [check] = CHECK.all("RUN")
    assert check.rest.endswith("nginx -t -e stderr -c /etc/marina/nginx.conf")
    assert next(one.rest for one in CHECK.all("COPY")) == "--from=module /srv/edge/ /srv/edge/"
    assert CHECK.env["MARINA_EDGE_MODULE"] == "include /srv/edge/module.conf;"


def test_the_sample_policy_is_what_the_generator_writes() -> None:
    space = Box((1,), np.dtype("float32"), np.array([-1.0], dtype=np.float32), np.array([1.0], dtype=np.float32))
    sample = EdgePolicy(
        model="sample",
        version="0",
        weights="random",
        observation=Observation(space, None, "reject"),
        action=Discrete(2, 0),
        layers=((np.array([[1.0], [-1.0]], dtype=np.float32), np.zeros(2, dtype=np.float32)),),
        activation="Tanh",
        scale=1.0,
        normalization=None,
        one_hot=None,
        limit=None,
        squash=False,
    )
    assert SAMPLE.read_text() == policy_header(sample)


@NGINX_DEV
def test_the_compilers_image_compiles_with_what_is_copied_and_pythons_own_library(tmp_path: Path) -> None:
    root, folder = tmp_path / "image", tmp_path / "edge"
    root.mkdir()
    folder.mkdir()
    lay_out(COMPILER, ROOT, root)
    shutil.copy(SAMPLE, folder / "policy.h")
    _, *arguments = COMPILER.all("CMD")[0].words
    command = [word.replace("/srv/edge", str(folder)) for word in arguments[:-1]]
    done = subprocess.run([sys.executable, "-S", "-E", *command], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    [module] = folder.glob("*.so")
    assert done.stdout == f"{folder}/module.conf loads {module.name}\n"


@NGINX_DEV
def test_its_configuration_serves_a_mounted_module_and_takes_the_next_one_at_a_reload(tmp_path: Path) -> None:
    edge, run, mounted = prepared(tmp_path), tmp_path / "run", tmp_path / "mounted"
    _compile(mounted, "1.0")
    with _served(run, mounted, edge.port) as server:
        assert edge.ask("POST", MODEL, STATE).json["version"] == "1.0"
        _compile(mounted, "1.1")
        server.send_signal(signal.SIGHUP)
        wait_for(lambda: _version(edge) == "1.1")
        broken = mounted / "broken.so"
        broken.write_bytes(next(mounted.glob("ngx_*.so")).read_bytes()[:400])
        (mounted / "module.conf").write_text(f'load_module "{broken}";\n')
        server.send_signal(signal.SIGHUP)
        wait_for(lambda: "broken.so" in (run / "log").read_text())
        for _ in range(20):
            assert _version(edge) == "1.1"


@NGINX_DEV
def test_without_a_policy_it_says_so_and_ends(tmp_path: Path) -> None:
    edge, mounted = prepared(tmp_path), tmp_path / "mounted"
    mounted.mkdir()
    with _served(tmp_path / "run", mounted, edge.port, healthy=False) as server:
        assert server.wait(20) == 1
        assert not _healthy(IMAGE, edge.port)
    assert f'open() "{mounted}/module.conf" failed' in (tmp_path / "run" / "log").read_text()


@pytest.mark.slow
@NGINX_DEV
def test_an_export_writes_what_the_image_compiles(tmp_path: Path) -> None:
    archives.export(tmp_path, "1.0")
    edge, mounted = prepared(tmp_path), tmp_path / "mounted"
    for _ in range(2):
        assert "2000 random states agree" in edge.run("edge", "export", str(mounted))
    assert (mounted / "policy.h").read_text() == (tmp_path / "policy.h").read_text()


def _compile(mounted: Path, version: str) -> None:
    mounted.mkdir(exist_ok=True)
    archives.export(mounted, version)
    compile_folder(mounted, mounted)


@contextlib.contextmanager
def _served(run: Path, mounted: Path, port: int, *, healthy: bool = True) -> "Iterator[subprocess.Popen[bytes]]":
    """Run this machine's nginx over the image's configuration."""
    values = CHECK.env | {
        "MARINA_EDGE_ADDRESS": f"127.0.0.1:{port}",
        "MARINA_EDGE_RUN": str(run),
        "MARINA_EDGE_WORKERS": "2",
    }
    run.mkdir()
    text = Template(nginx_server.TEMPLATE.read_text()).safe_substitute(values)
    (run / "nginx.conf").write_text(text.replace("/srv/edge", str(mounted)))
    user = ("-g", "user root;") if os.getuid() == 0 else ()
    command = (nginx_program(), "-e", "stderr", "-p", str(run), "-c", str(run / "nginx.conf"), *user)
    with (run / "log").open("wb") as log:
        server = subprocess.Popen(command, stderr=log)
    try:
        if healthy:
            wait_for(lambda: _healthy(IMAGE, port))
        yield server
    finally:
        server.terminate()
        server.wait(20)


def _version(edge: Served) -> object:
    return edge.ask("POST", MODEL, STATE).json["version"]


def _healthy(image: Dockerfile, port: int) -> bool:
    """Run the image's own health check."""
    check = image.all("HEALTHCHECK")[0].rest.partition("CMD ")[2]
    command = [str(word).replace("5005", str(port)) for word in json.loads(check)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0
