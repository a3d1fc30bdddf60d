"""The image of engine=ray against the settings of local runs."""

import os
import shutil
from pathlib import Path

import pytest

from settings import load
from settings.load import ROOT
from settings.schema import RayServeSettings
from stack import ray_serve
from stack.folders import Folders
from tests.docker.dockerfile import read
from tests.test_house import imports

IMAGE = read(ROOT / "docker" / "Dockerfile.ray")
HERE = {
    "PYTHONPATH",
    "TMPDIR",
    "RAY_TMPDIR",
    "RAY_AUTH_MODE",
    "RAY_AUTH_TOKEN_PATH",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER",
}
"""The settings of folders, token and loopback of a cluster on this machine; KubeRay has its own."""


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published settings, without this machine's own file and environment."""
    for name in [name for name in os.environ if name.startswith("MARINA_")]:
        monkeypatch.delenv(name)
    return shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local"))


def test_the_image_holds_every_module_that_is_imported_in_it() -> None:
    copied = {source.rstrip("/") for source in IMAGE.copied}
    rooms = {path.name.removesuffix(".py") for path in ROOT.iterdir() if path.suffix == ".py" or path.is_dir()}
    places = [ROOT / name for name in copied if name != "handlers"]
    sources = [path for place in places for path in ([place] if place.suffix == ".py" else place.rglob("*.py"))]
    needed = {name for path in sources for name in imports(path)} & rooms
    assert {"engines", "settings", "archive", "errors"} <= needed
    assert needed <= {name.removesuffix(".py") for name in copied}
    assert "docker/metrics.yaml" in copied


def test_a_cluster_of_the_image_gets_what_one_on_this_machine_gets(published: Path) -> None:
    settings = load(["engine=ray"], config=published)
    assert isinstance(settings.engine, RayServeSettings)
    local = ray_serve.environment(settings.engine, Folders.of(settings))
    image = {name: value for name, value in IMAGE.env.items() if name.startswith("RAY_")}
    assert image == {name: value for name, value in local.items() if name not in HERE}
    assert IMAGE.env["PYTHONPATH"] == IMAGE.all("WORKDIR")[0].rest


def test_the_management_port_is_not_published(published: Path) -> None:
    found = load(["engine=ray"], config=published).engine
    assert IMAGE.all("EXPOSE")[0].words == [str(found.inference_port), str(found.metrics_port)]
