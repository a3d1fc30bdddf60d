"""The declaration of the RayService, and its cluster against the settings, the image and its clients."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from engines.python.registry import ModelRegistry
from engines.ray.serve_config import serve_config_text
from settings import load
from settings.load import ROOT
from settings.schema import RayServeSettings
from tests.docker.dockerfile import read
from tests.docker.manifests import FOLDER, Document, built, environment, one, pods, program, ray_cluster
from tests.docker.test_kubernetes_fits import literals

DECLARED = FOLDER / "components" / "rayservice" / "serve.yaml"
needs_kustomize = pytest.mark.skipif(program() is None, reason="needs kubectl 1.21 or kustomize 4")


@pytest.fixture
def published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The published settings, without this machine's own file and environment."""
    for name in [name for name in os.environ if name.startswith("MARINA_")]:
        monkeypatch.delenv(name)
    return shutil.copytree(ROOT / "config", tmp_path / "config", ignore=shutil.ignore_patterns("local"))


def engine(config: Path, *overrides: str) -> RayServeSettings:
    found = load(["engine=ray", *overrides], config=config).engine
    assert isinstance(found, RayServeSettings)
    return found


def test_what_the_rayservice_declares_is_what_the_command_writes_for_no_models(published: Path) -> None:
    comment, _, config = DECLARED.read_text().partition("\n")
    words = comment.removeprefix("# python -m delivery declare ").split()
    settings = load(words, config=published)
    assert isinstance(settings.engine, RayServeSettings)
    assert config == serve_config_text(ModelRegistry(), settings, settings.engine)


@pytest.fixture(scope="module")
def service() -> Document:
    return one("RayService", "ray", built("rayservice"))


def head(service: Document) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ray_cluster(service)["headGroupSpec"]["template"]["spec"]["containers"]
    return found


@needs_kustomize
def test_a_rayservice_has_the_words_that_kuberay_knows_and_the_declaration_that_lies_beside_it(
    service: Document,
) -> None:
    assert service["apiVersion"] == "ray.io/v1"
    assert set(service["spec"]) == {"rayClusterConfig", "serveConfigV2"}
    assert service["spec"]["serveConfigV2"] == DECLARED.read_text()
    applied = {(each["kind"], each["metadata"]["name"]) for each in built("rayservice")}
    # The cluster is KubeRay's to make, and the service that would find two of them at once is gone.
    assert not applied & {("RayCluster", "ray"), ("Service", "ray"), ("ConfigMap", "serve")}


@needs_kustomize
def test_gateway_and_delivery_speak_to_the_head_that_serves(service: Document, published: Path) -> None:
    words = literals("components/ray") | literals("components/rayservice")
    assert words["MARINA_ENGINE_HOST"] == f"{service['metadata']['name']}-head-svc"
    found = engine(published)
    ray, manager = head(service)
    ports = {port["name"]: port["containerPort"] for port in ray["ports"]}
    assert ports == {
        "gcs-server": found.ray_port, "dashboard": 8265, "serve": found.inference_port,
        "manager": found.management_port, "metrics": found.metrics_port,
    }  # fmt: skip
    # A head serves, to KubeRay, when a proxy of Ray's says so there.
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert (config["proxy_location"], config["http_options"]["port"]) == ("HeadOnly", ports["serve"])
    assert engine(published, *manager["args"]).declared is True
    names = [port["name"] for container in (ray, manager) for port in container["ports"]]
    assert len(set(names)) == len(names)


@needs_kustomize
@pytest.mark.parametrize("overlay", ["ray", "rayservice"])
def test_no_agent_of_rays_takes_a_port_that_serve_or_the_manager_has(overlay: str, published: Path) -> None:
    [found] = [each for each in built(overlay) if each["kind"].startswith("Ray")]
    spec = ray_cluster(found)
    taken = {str(port) for port in (engine(published).inference_port, engine(published).management_port, 8082)}
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        # Without a word of it KubeRay says 8080.
        assert group["rayStartParams"]["metrics-export-port"] not in taken


@needs_kustomize
def test_the_front_checks_keys_with_the_secret_that_the_manager_makes_them_with(service: Document) -> None:
    def on_volume(container: dict[str, Any], path: str) -> str:
        places = [each for each in container["volumeMounts"] if path.startswith(f"{each['mountPath']}/")]
        [mount] = [each for each in places if each["name"] == "state"]
        return path.replace(mount["mountPath"], mount["subPath"], 1)

    ray, manager = head(service)
    declared = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"][0]["args"]["secret_file"]
    keys = environment(manager)["MARINA_KEY_FILE"]
    assert Path(on_volume(ray, declared)) == Path(on_volume(manager, keys)).with_name("secret")
    documents = built("rayservice")
    for name in ("gateway", "delivery"):
        [container] = dict(pods(documents))[name]["spec"]["containers"]
        told = literals("components/ray")["MARINA_KEY_FILE"]
        assert on_volume(container, told) == on_volume(manager, keys)


@needs_kustomize
def test_a_node_is_ready_without_a_proxy_where_proxies_are_at_the_head(service: Document) -> None:
    for group in ray_cluster(service)["workerGroupSpecs"]:
        [container] = group["template"]["spec"]["containers"]
        [check] = read(ROOT / "docker" / "Dockerfile.ray").all("HEALTHCHECK")
        probe = container["readinessProbe"]["httpGet"]
        assert f":{probe['port']}{probe['path']}'" in check.rest
