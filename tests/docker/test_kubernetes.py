"""docker/kubernetes against Kubernetes' schemas; every pod is hardened like its service in compose.yaml."""

import json
import re
from functools import cache

import kubernetes_validate
import pytest

from tests.docker.manifests import OVERLAYS, Document, built, container, one, pods, program, ray_cluster, written

OLDEST, NEWEST = "1.28", "1.37"
needs_kustomize = pytest.mark.skipif(program() is None, reason="needs kubectl 1.21 or kustomize 4")
each_overlay = pytest.mark.parametrize("overlay", OVERLAYS)
# KubeRay's; their definitions are in no package: their words are those of the published types, their pods Kubernetes'.
FOREIGN = {"RayCluster", "RayService"}
RAY_WORDS = {"rayVersion", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec", "workerGroupSpecs"}
GROUP_WORDS = {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}


@cache
def valid(text: str, version: str) -> None:
    """Raise where Kubernetes would refuse it; overlays share most objects, and each is checked once."""
    kubernetes_validate.validate(json.loads(text), version, strict=True)


def named(document: Document) -> str:
    return f"{document['kind']}/{document['metadata']['name']}"


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", written(), ids=named)
def test_each_object_is_what_kubernetes_takes(document: Document, version: str) -> None:
    valid(json.dumps(document), version)


def test_the_schemas_find_a_wrong_word() -> None:
    wrong = {**one("Service", "gateway"), "spec": {"portz": []}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, NEWEST, strict=True)


@needs_kustomize
@each_overlay
def test_each_overlay_builds_and_all_of_it_is_what_kubernetes_takes(overlay: str) -> None:
    documents = built(overlay)
    assert len({named(each) for each in documents}) == len(documents)
    for document in documents:
        if document["kind"] not in FOREIGN:
            valid(json.dumps(document), NEWEST)
        assert document["metadata"].get("namespace", document["metadata"]["name"]) == "marina"


@needs_kustomize
@pytest.mark.parametrize("overlay", ["ray", "rayservice"])
def test_rays_cluster_has_words_that_kuberay_knows_and_pods_that_kubernetes_takes(overlay: str) -> None:
    [found] = [each for each in built(overlay) if each["kind"] in FOREIGN]
    assert found["apiVersion"] == "ray.io/v1"
    spec = ray_cluster(found)
    assert set(spec) <= RAY_WORDS
    assert set(spec["autoscalerOptions"]) <= {"idleTimeoutSeconds", "securityContext"}
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    assert set(groups[0]) <= {"rayStartParams", "template"}
    for group in groups:
        assert set(group) <= GROUP_WORDS
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        template = {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": group["template"]}
        kubernetes_validate.validate(template, NEWEST, strict=True)


@needs_kustomize
@each_overlay
def test_a_pod_is_hardened_and_bounded(overlay: str) -> None:
    found = dict(pods(built(overlay)))
    assert {"gateway", "delivery"} <= set(found)
    for name, template in found.items():
        spec = template["spec"]
        # Ray's autoscaler asks Kubernetes for nodes, and runs beside the head.
        assert spec.get("automountServiceAccountToken", True) is (name == "ray-head"), name
        assert spec["enableServiceLinks"] is False, name
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(spec), name
        outer = spec["securityContext"]
        assert outer["runAsNonRoot"] is True
        assert min(outer["runAsUser"], outer["runAsGroup"]) > 0
        assert outer["seccompProfile"] == {"type": "RuntimeDefault"}
        for inner in spec["containers"]:
            assert inner["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert set(inner["resources"]["requests"]) >= {"cpu", "memory"}, name
            assert inner["resources"]["limits"]["memory"], name
            assert not any("hostPort" in port for port in inner.get("ports", ())), name
            assert re.search(r":\d|:cpu|:cuda", inner["image"]), name


@needs_kustomize
@each_overlay
def test_what_a_pod_mounts_is_there(overlay: str) -> None:
    documents = built(overlay)
    known = {(each["kind"], each["metadata"]["name"]) for each in documents}
    for name, template in pods(documents):
        volumes = {each["name"]: each for each in template["spec"]["volumes"]}
        containers = template["spec"]["containers"]
        assert {mount["name"] for inner in containers for mount in inner["volumeMounts"]} == set(volumes), name
        for volume in volumes.values():
            if "configMap" in volume:
                assert ("ConfigMap", volume["configMap"]["name"]) in known
            if "secret" in volume:
                assert ("Secret", volume["secret"]["secretName"]) in known
            if "persistentVolumeClaim" in volume:
                assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in known
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"]
        for source in (each for inner in containers for each in inner.get("envFrom", ())):
            assert ("ConfigMap", source["configMapRef"]["name"]) in known


@needs_kustomize
@each_overlay
def test_what_selects_pods_finds_some(overlay: str) -> None:
    documents = built(overlay)
    labels = [template["metadata"]["labels"] for _, template in pods(documents)]

    def some(wanted: dict[str, str]) -> bool:
        return any(wanted.items() <= each.items() for each in labels)

    for document in documents:
        spec = document.get("spec", {})
        match document["kind"]:
            case "Service":
                assert some(spec["selector"]), named(document)
            case "NetworkPolicy":
                assert some(spec["podSelector"].get("matchLabels", {})), named(document)
            case "PodDisruptionBudget" | "Deployment" | "StatefulSet":
                assert some(spec["selector"]["matchLabels"]), named(document)
            case "HorizontalPodAutoscaler":
                target = spec["scaleTargetRef"]
                assert "replicas" not in one(target["kind"], target["name"], documents)["spec"], "it would be reset"


@needs_kustomize
def test_configuration_that_changes_starts_the_pods_anew() -> None:
    mounted = {
        volume["configMap"]["name"]
        for _, template in pods(built("core"))
        for volume in template["spec"]["volumes"]
        if "configMap" in volume
    }
    made = {each["metadata"]["name"] for each in built("core") if each["kind"] == "ConfigMap"}
    assert mounted <= made
    assert all(name[-11:-10] == "-" for name in made), "no hash of the content in the name"


@needs_kustomize
def test_the_bucket_takes_the_place_of_the_file_browser() -> None:
    documents = built("s3")
    assert not [named(each) for each in documents if each["metadata"]["name"] == "filebrowser"]
    assert "store=s3" in container("delivery", documents)["args"]


@needs_kustomize
def test_a_gpu_changes_the_image_and_the_devices_alone() -> None:
    plain, gpu = (dict(container("torchserve", built(overlay))) for overlay in ("core", "gpu"))
    assert gpu.pop("image") == "marina-torchserve:cuda"
    assert plain.pop("image") == "marina-torchserve:cpu"
    assert gpu["resources"]["limits"].pop("nvidia.com/gpu") == "1"
    assert plain == gpu
