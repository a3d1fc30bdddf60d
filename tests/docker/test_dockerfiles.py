import ast
import dataclasses
import os
import re
import runpy
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.console import page_files as console_files
from settings import Settings, load
from settings.schema import TorchServeSettings
from stack.folders import Folders
from stack.torchserve import command, environment
from tests.docker.dockerfile import Dockerfile, read
from tests.docker.filebrowser_server import render

ROOT = Path(__file__).resolve().parents[2]
DOCKER = ROOT / "docker"
FILES = {path.name: read(path) for path in sorted(DOCKER.glob("Dockerfile.*"))}
ALL = FILES | {path.name: read(path) for path in sorted((DOCKER / "bases").glob("Dockerfile.*"))}
each_image = pytest.mark.parametrize("image", FILES.values(), ids=FILES.keys())


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The published settings, without this machine's own file and environment."""
    for name in [name for name in os.environ if name.startswith("MARINA_")]:
        monkeypatch.delenv(name)
    published = shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local"))
    return load([], config=published)


def test_there_is_an_image_for_each_part() -> None:
    assert set(FILES) == {
        "Dockerfile.torchserve",
        "Dockerfile.gateway",
        "Dockerfile.delivery",
        "Dockerfile.filebrowser",
        "Dockerfile.edge",
        "Dockerfile.ray",
    }


@each_image
def test_an_image_runs_without_privileges(image: Dockerfile) -> None:
    users = image.all("USER")
    assert users
    uid, gid = (int(number) for number in users[-1].rest.split(":"))
    assert uid > 0
    assert gid > 0


@each_image
def test_an_image_is_built_in_stages_from_a_tagged_base_that_an_argument_replaces(image: Dockerfile) -> None:
    arguments = dict(one.rest.split("=", 1) for one in image.head if one.name == "ARG")
    assert len(image.stages) > 1
    earlier: set[str] = set()
    for stage in image.stages:
        base, *_, name = stage[0].words
        named = re.fullmatch(r"\$\{(\w+)\}", base)
        assert named or base in earlier, f"{base} cannot be pinned from outside"
        if named:  # a tag begins with a version, or with the name of a release of Debian
            assert re.fullmatch(r"[a-z]+(/[a-z]+)?:(\d|bookworm)[\w.-]+", arguments[named[1]])
        earlier.add(name)


@pytest.mark.parametrize("image", ALL.values(), ids=ALL.keys())
def test_every_download_of_a_build_trusts_the_certificates_of_the_secret(image: Dockerfile) -> None:
    for stage in image.stages:
        names = [one.rest.partition("=")[0] for one in stage if one.name == "ARG"]
        for run in (one.rest for one in stage if one.name == "RUN"):
            if "apt-get" not in run and "pip install" not in run.replace("--python /opt/venv/bin/python ", ""):
                continue
            assert "--mount=type=secret,id=ca" in run
            assert "CA" in names
            assert run.count("apt-get ") == run.count("apt-get ${CA:+-o Acquire::https::CAInfo=/run/secrets/ca} ")
            assert "pip" not in run or {"PIP_CERT", "PIP_INDEX_URL", "SOURCE_DATE_EPOCH"} <= set(names)


def test_compose_and_the_bases_take_the_names_of_the_dockerfiles() -> None:
    defaults = {argument: {one.rest for file in ALL.values() for one in file.head if one.rest.startswith(argument)}
                for argument in ("DEBIAN_IMAGE", "PYTHON_IMAGE")}  # fmt: skip
    compose = (DOCKER / "compose.yaml").read_text()
    for argument, [default] in defaults.items():
        assert f'{argument}: "${{{argument}:-{default.partition("=")[2]}}}"' in compose


@each_image
def test_an_image_tells_its_health_and_what_it_runs(image: Dockerfile) -> None:
    assert len(image.all("HEALTHCHECK")) == 1
    started = [*image.all("ENTRYPOINT"), *image.all("CMD")]
    assert started
    assert all(one.rest.startswith("[") for one in started), "a shell between would keep signals from the program"


@each_image
def test_what_an_image_copies_is_there_and_sent_to_the_builder(image: Dockerfile) -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for source in image.copied:
        assert (ROOT / source).exists(), source
        assert source.split("/")[0] in allowed, source


def test_the_builder_is_sent_nothing_that_no_image_copies() -> None:
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = {source.split("/")[0] for image in FILES.values() for source in image.copied}
    assert allowed == copied
    kept_back = {"config/local", "docker/.env", "docker/data", "docker/secrets"}
    assert kept_back <= set((ROOT / ".dockerignore").read_text().splitlines())


def test_torchserve_gets_the_settings_of_local_runs(settings: Settings) -> None:
    folders = Folders.of(settings)
    local = {name: value for name, value in environment(settings, folders).items() if name.startswith("TS_")}
    image = {name: value for name, value in FILES["Dockerfile.torchserve"].env.items() if name.startswith("TS_")}
    assert Path(local.pop("TS_METRICS_CONFIG")).name == Path(image.pop("TS_METRICS_CONFIG")).name
    assert image == local


def test_torchserve_is_started_as_in_local_runs(settings: Settings) -> None:
    image = FILES["Dockerfile.torchserve"]
    inside = [*image.all("ENTRYPOINT")[0].words, *image.all("CMD")[0].words]
    local = command(Folders.of(settings))

    def names(words: list[str]) -> list[str]:
        return [Path(word).name for word in words[1:]]

    assert names(inside) == names(list(local))


def test_the_management_port_is_not_published(settings: Settings) -> None:
    engine = settings.engine
    assert isinstance(engine, TorchServeSettings)
    exposed = {int(port) for one in FILES["Dockerfile.torchserve"].all("EXPOSE") for port in one.words}
    assert exposed == {engine.inference_port, engine.metrics_port, engine.grpc_inference_port}


def test_ports_are_those_of_the_settings(settings: Settings) -> None:
    assert settings.store.name == "nginx"
    published = [str(settings.gateway.port), str(settings.gateway.grpc_port)]
    assert FILES["Dockerfile.gateway"].all("EXPOSE")[0].words == published
    assert FILES["Dockerfile.gateway"].env["MARINA_GATEWAY_PORT"] == str(settings.gateway.port)
    assert FILES["Dockerfile.filebrowser"].all("EXPOSE")[0].words == [str(settings.store.port)]
    assert FILES["Dockerfile.edge"].all("EXPOSE")[0].words == [str(settings.edge.port)]
    assert FILES["Dockerfile.filebrowser"].env["MARINA_FILES_ADDRESS"].endswith(f":{settings.store.port}")


def test_the_gateways_image_holds_every_module_that_the_gateway_imports() -> None:
    copied = {source.rstrip("/") for source in FILES["Dockerfile.gateway"].copied}
    rooms = {path.name.removesuffix(".py") for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    sources = [
        path for name in copied for path in ([ROOT / name] if name.endswith(".py") else (ROOT / name).rglob("*.py"))
    ]
    needed = {name for path in sources if "handlers" not in path.parts for name in _imported(path)} & rooms
    assert needed <= {name.removesuffix(".py") for name in copied}


def test_the_gateways_image_holds_the_consoles_files() -> None:
    folder = console_files.FOLDER.relative_to(ROOT)
    assert any(folder.is_relative_to(source.rstrip("/")) for source in FILES["Dockerfile.gateway"].copied)
    kept_back = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if "*" in line and line != "*"]
    assert kept_back == ["**/__pycache__"]


def _imported(path: Path) -> set[str]:
    nodes = list(ast.walk(ast.parse(path.read_text())))
    plain = {alias.name.split(".")[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return plain | {node.module.split(".")[0] for node in nodes if isinstance(node, ast.ImportFrom) and node.module}


@pytest.fixture(scope="module")
def complaint() -> Callable[[str, str | None], str | None]:
    found: Callable[[str, str | None], str | None] = runpy.run_path(str(DOCKER / "torchserve/check_cuda.py"))[
        "complaint"
    ]
    return found


def test_a_torch_for_another_cuda_ends_the_build(complaint: Callable[[str, str | None], str | None]) -> None:
    assert complaint("12.8", "12.8") is None
    assert complaint("", None) is None
    assert complaint("", "13.0") is None
    assert "CUDA 13.0" in str(complaint("12.8", "13.0"))
    assert "CPU alone" in str(complaint("12.8", None))


def test_the_file_browsers_start_fills_in_its_configuration_and_sends_its_access_log_to_the_output(
    tmp_path: Path,
) -> None:
    script, run = DOCKER / "filebrowser" / "start.sh", tmp_path / "run"
    assert os.access(script, os.X_OK)
    values = FILES["Dockerfile.filebrowser"].env | {
        "MARINA_FILES_RUN": str(run),
        "MARINA_FILES_TEMPLATE": str(DOCKER / "nginx.conf"),
    }
    command: list[str | Path] = [script, "cat", run / "nginx.conf"]
    for _ in range(2):
        done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **values}, capture_output=True, check=True)
        assert (run / "access.log").readlink() == Path("/dev/stdout")
    assert done.stdout.decode() == render(values)
    assert "${" not in done.stdout.decode()


def test_the_file_browsers_build_checks_what_its_container_starts() -> None:
    image = FILES["Dockerfile.filebrowser"]
    check = dataclasses.replace(image, stages=image.stages[:-1])
    assert check.env.keys() == image.env.keys()
    assert [one.rest.partition(" ")[0] for one in check.all("RUN")] == image.all("ENTRYPOINT")[0].words
