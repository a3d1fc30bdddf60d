"""docker/kubernetes against the images, docker/compose.yaml and the settings of local runs."""

import re
from pathlib import Path

import pytest
import yaml

from engines.torchserve.process.__main__ import DRAIN_S, JAVA_S
from gateway.apikey import OPEN
from settings import Settings, load
from settings.load import ROOT
from settings.schema import RayServeSettings, S3StoreSettings
from stack import ray_serve
from stack.compose import CLIENTS, SECRETS
from stack.folders import Folders
from stack.processes import STOP_TIMEOUT_S
from tests.docker.dockerfile import Instruction, read
from tests.docker.manifests import FOLDER, container, environment, generated, one, pods, written

COMPOSE = yaml.safe_load((ROOT / "docker" / "compose.yaml").read_text())["services"]
IMAGES = ("torchserve", "gateway", "delivery", "filebrowser")
each_image = pytest.mark.parametrize("name", IMAGES)


def literals(component: str) -> dict[str, str]:
    found = generated("configMapGenerator", "cluster", component)
    return dict(each.split("=", 1) for each in found)


@pytest.fixture(scope="module")
def cluster() -> Settings:
    """The settings of gateway and delivery: the nodes of the ConfigMap and their own arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARINA_NODES", literals("base")["MARINA_NODES"])
        return load(container("gateway")["args"])


@each_image
def test_an_image_and_its_user_are_those_that_compose_builds(name: str) -> None:
    image = read(ROOT / "docker" / f"Dockerfile.{name}")
    spec = dict(pods(written()))[name]["spec"]
    uid, gid = image.all("USER")[-1].rest.split(":")
    assert (spec["securityContext"]["runAsUser"], spec["securityContext"]["runAsGroup"]) == (int(uid), int(gid))
    default = COMPOSE[name]["image"].split(":-")[1].rstrip("}")
    assert container(name)["image"].partition(":")[0] == default.partition(":")[0]


@each_image
def test_probes_ask_what_the_image_asks_itself(name: str) -> None:
    image = read(ROOT / "docker" / f"Dockerfile.{name}")
    check = Instruction("CMD", image.all("HEALTHCHECK")[0].rest.partition("CMD ")[2]).words
    found = container(name)
    for probe in (found["startupProbe"], found["livenessProbe"]):
        if "exec" in probe:
            assert probe["exec"]["command"] == check
        else:
            assert probe["httpGet"]["path"] in " ".join(check)
    assert "readinessProbe" in found or name == "delivery"


@each_image
def test_mounts_take_the_places_that_compose_fills(name: str) -> None:
    known = {volume.split(":")[1] for volume in COMPOSE[name].get("volumes", ())}
    known |= {re.sub(r":.*", "", place) for place in COMPOSE[name].get("tmpfs", ())}
    known |= {"/run/secrets" for _ in COMPOSE[name].get("secrets", ())}
    added = {"/srv/live", "/srv/state", "/dev/shm", "/srv/marina/config/served_model"}
    for mount in container(name)["volumeMounts"]:
        place = mount["mountPath"]
        assert place in known | added or any(path.startswith(f"{place}/") for path in known) or place == "/srv/keys"


def test_ports_are_those_of_the_settings(cluster: Settings) -> None:
    engine, gateway = cluster.engine, cluster.gateway
    expected = {
        "torchserve": {"inference": engine.inference_port, "management": engine.management_port,
                       "metrics": engine.metrics_port},
        "gateway": {"http": gateway.port, "grpc": gateway.grpc_port},
        "filebrowser": {"http": load(["store=nginx"]).store.port},  # type: ignore[union-attr]  # the file browser's
    }  # fmt: skip
    for name, ports in expected.items():
        assert {port["name"]: port["containerPort"] for port in container(name)["ports"]} == ports
        assert {port["name"]: port["port"] for port in one("Service", name)["spec"]["ports"]} == ports
    ingress = one("Ingress", "gateway")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert ingress == {"name": "gateway", "port": {"name": "http"}}


def test_the_nodes_are_the_pods_and_as_many_as_the_autoscaler_may_make(cluster: Settings) -> None:
    pod, service = one("StatefulSet", "torchserve"), one("Service", "torchserve")
    assert pod["spec"]["serviceName"] == service["metadata"]["name"]
    assert service["spec"]["clusterIP"] == "None"
    limits = one("HorizontalPodAutoscaler", "torchserve")["spec"]
    assert limits["maxReplicas"] == len(cluster.engine.nodes) >= limits["minReplicas"] > 1
    keys = {mount["mountPath"]: mount for mount in container("gateway")["volumeMounts"]}["/srv/keys"]
    own = {mount["mountPath"]: mount for mount in container("torchserve")["volumeMounts"]}["/srv/keys"]
    assert own["subPathExpr"] == f"{keys['subPath']}/$(POD_NAME)"
    assert container("torchserve")["workingDir"] == "/srv/keys"
    for number, node in enumerate(cluster.engine.nodes):
        assert node.name == f"torchserve-{number}"
        assert node.inference_url == f"http://{node.name}.torchserve:{cluster.engine.inference_port}"
        assert node.management_url == f"http://{node.name}.torchserve:{cluster.engine.management_port}"
        assert node.key_file == f"/srv/keys/{node.name}/key_file.json"


def test_gateway_and_torchserve_read_what_delivery_writes() -> None:
    mounts = {
        name: {mount["mountPath"]: mount for mount in container(name)["volumeMounts"] if mount["name"] == "state"}
        for name in ("gateway", "delivery", "torchserve")
    }
    assert mounts["delivery"]["/srv/marina/.marina"]["subPath"] == "delivery"
    assert environment(container("gateway"))["MARINA_STATE"] == "/srv/state"
    assert mounts["gateway"]["/srv/state"]["subPath"] == "delivery"
    assert mounts["torchserve"]["/srv/live"]["subPath"] == "delivery/live"
    assert container("torchserve")["readinessProbe"]["exec"]["command"][-1] == "/srv/live"
    for name, place in (("gateway", "/srv/state"), ("gateway", "/srv/keys"), ("torchserve", "/srv/live")):
        assert mounts[name][place]["readOnly"] is True


def test_torchserve_differs_from_compose_in_its_name_alone() -> None:
    compose = COMPOSE["torchserve"]["environment"]
    here = environment(container("torchserve"))
    assert here.pop("TS_ALLOWED_URLS") == compose["TS_ALLOWED_URLS"].split(",")[0]
    # A container listens at its name on one network, a pod at all its addresses.
    addresses = {
        key: re.sub("//.*:", "//0.0.0.0:", value) for key, value in compose.items() if key.endswith("_ADDRESS")
    }
    compose = {key: _by_default(value) for key, value in compose.items() if key != "TS_ALLOWED_URLS"}
    assert here == compose | addresses


def _by_default(value: str) -> str:
    """Return a value of compose.yaml with the defaults of its variables."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", value)


def test_the_bucket_is_the_one_that_torchserve_may_fetch_from() -> None:
    given = literals("components/s3")
    words = [f"store.endpoint={given['S3_ENDPOINT']}", f"store.bucket={given['S3_BUCKET']}"]
    store = load(["store=s3", *words]).store
    assert isinstance(store, S3StoreSettings)
    patch = yaml.safe_load((FOLDER / "components" / "s3" / "torchserve.yaml").read_text())
    [allowed] = patch["spec"]["template"]["spec"]["containers"][0]["env"]
    assert allowed == {"name": "TS_ALLOWED_URLS", "value": store.allowed_urls}
    assert re.fullmatch(allowed["value"], f"{given['S3_ENDPOINT']}/{given['S3_BUCKET']}/digits-1.0.mar?X-Amz-Date=1")


@pytest.mark.parametrize("name", ["delivery", "upload"])
def test_delivery_is_started_with_words_that_it_knows(name: str) -> None:
    steps = yaml.safe_load((FOLDER / "components" / "s3" / "delivery.yaml").read_text())
    more = [step["value"] for step in steps if step["path"].endswith("/args/-")]
    values = literals("components/s3") | dict(
        [generated("configMapGenerator", "upload", "components/upload")[0].split("=")]
    )
    given = [word for word in container(name)["args"] if "=" in word] + more
    load([re.sub(r"\$\((\w+)\)", lambda found: values[found[1]], word) for word in given])
    if name == "delivery":
        assert container(name)["args"][0] in (ROOT / "delivery" / "__main__.py").read_text()
    assert (ROOT / container("upload")["command"][1]).is_file()


def test_configuration_is_that_of_local_runs() -> None:
    places = {name: generated("configMapGenerator", name) for name in ("torchserve", "filebrowser", "served-model")}
    for files in places.values():
        assert all((FOLDER / "base" / each).is_file() for each in files)
    models = {Path(each).name for each in places["served-model"]}
    assert models == {path.name for path in (ROOT / "config/served_model").glob("*.yaml") if path.suffixes == [".yaml"]}
    mounted = {volume.split(":")[0].removeprefix("./") for volume in COMPOSE["torchserve"]["volumes"]}
    assert {Path(each).name for each in places["torchserve"]} <= mounted


def test_secrets_come_from_files_that_nobody_publishes() -> None:
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert "docker/secrets/" in ignored
    found = generated("secretGenerator", "gateway-settings") + generated("secretGenerator", "s3", "components/s3")
    found += generated("secretGenerator", "gateway-key")
    for each in found:
        assert "../../secrets/" in each
        assert Path(each).name in {*SECRETS, "s3.json", "default.yaml"}
    assert not [each for each in written() if each["kind"] == "Secret"]


@pytest.mark.parametrize("name", ["delivery", "upload"])
def test_rollouts_read_the_figures_of_every_gateway_with_their_key(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for key, value in (literals("base") | environment(container(name))).items():
        monkeypatch.setenv(key, value)
    found = load().gateway
    [service] = found.instances
    described = one("Service", service)["spec"]
    assert described["clusterIP"] == "None"
    labels = {name: template["metadata"]["labels"] for name, template in pods(written())}
    assert described["selector"].items() <= labels["gateway"].items()
    assert [port["port"] for port in described["ports"]] == [found.port]
    [mount] = [each for each in container(name)["volumeMounts"] if each["name"] == "gateway-key"]
    secret = Path(str(found.api_key_file))
    assert str(secret.parent) == mount["mountPath"]
    assert [Path(each).name for each in generated("secretGenerator", "gateway-key")] == [secret.name]
    assert secret.name in CLIENTS.values()
    rules = one("NetworkPolicy", "delivery")["spec"]["egress"]
    assert {"podSelector": {"matchLabels": {"app": "gateway"}}} in [
        to for rule in rules if {"port": found.port} in rule["ports"] for to in rule["to"]
    ]


def test_a_gateway_has_time_to_stop_and_its_probes_need_no_key(cluster: Settings) -> None:
    gateway = cluster.gateway
    needed = gateway.stop_notice_ms / 1000 + gateway.graceful_stop_s
    assert dict(pods(written()))["gateway"]["spec"]["terminationGracePeriodSeconds"] > needed
    found = container("gateway")
    assert {found[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")} <= OPEN
    notes = one("Ingress", "gateway")["metadata"]["annotations"]
    assert int(notes["nginx.ingress.kubernetes.io/proxy-body-size"]) == gateway.max_body_bytes
    assert int(notes["nginx.ingress.kubernetes.io/proxy-read-timeout"]) * 1000 == gateway.max_deadline_ms
    assert one("Ingress", "gateway")["spec"]["tls"]


def test_torchserve_has_time_to_answer_what_it_has_accepted() -> None:
    spec = dict(pods(written()))["torchserve"]["spec"]
    needed = float(environment(container("torchserve"))["MARINA_TS_DRAIN_S"]) + JAVA_S
    assert spec["terminationGracePeriodSeconds"] > needed
    assert COMPOSE["torchserve"]["stop_grace_period"] == (
        f"${{MARINA_TS_STOP_GRACE:-{spec['terminationGracePeriodSeconds']}s}}"
    )
    assert STOP_TIMEOUT_S > DRAIN_S + JAVA_S  # the local stack's


def test_management_is_reached_by_gateway_and_delivery_alone() -> None:
    policies = [each for each in written() if each["kind"] == "NetworkPolicy"]
    everything = one("NetworkPolicy", "nothing")["spec"]
    assert everything == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert all("Egress" in each["spec"]["policyTypes"] for each in policies)
    rules = one("NetworkPolicy", "torchserve")["spec"]["ingress"]
    opened = [rule for rule in rules if {"port": 8081} in rule["ports"]]
    assert [rule["from"] for rule in opened] == [
        [{"podSelector": {"matchLabels": {"app": "gateway"}}}, {"podSelector": {"matchLabels": {"part": "delivery"}}}]
    ]
    labels = {name: template["metadata"]["labels"] for name, template in pods(written())}
    assert {name for name, each in labels.items() if each.get("part") == "delivery"} == {"delivery", "upload"}
    assert all(
        port["port"] != 8081 for rule in one("NetworkPolicy", "gateway")["spec"]["ingress"] for port in rule["ports"]
    )


@pytest.mark.skipif(not (ROOT / "engines" / "ray").is_dir(), reason="needs engine=ray")
def test_rays_manager_is_a_program_of_the_kit_and_reads_what_it_is_given() -> None:
    _, cluster = yaml.safe_load_all((FOLDER / "components" / "ray" / "ray.yaml").read_text())
    _, manager = cluster["spec"]["headGroupSpec"]["template"]["spec"]["containers"]
    python, flag, module = manager["command"]
    assert (python, flag) == ("python", "-m")
    assert (ROOT / module.replace(".", "/") / "__main__.py").is_file()
    known = "".join(path.read_text() for path in (ROOT / "config").rglob("*.yaml"))
    settings = load(["engine=ray"])
    assert isinstance(settings.engine, RayServeSettings)
    local = ray_serve.manager_environment(settings.engine, Folders.of(settings))
    for name in [*environment(manager), *literals("components/ray"), *literals("components/rayservice")]:
        assert f"oc.env:{name}," in known or name in local, name
    load([f"engine={environment(manager)['MARINA_ENGINE']}", *manager["args"]])
    pinned = re.search(r"^ray\[serve\]==(\S+)", (ROOT / "requirements-ray.txt").read_text(), re.MULTILINE)
    assert pinned is not None
    assert cluster["spec"]["rayVersion"] == pinned[1]
    ports = load([]).engine
    assert {port["name"]: port["containerPort"] for port in manager["ports"]} == {
        "inference": ports.inference_port, "management": ports.management_port, "metrics": ports.metrics_port
    }  # fmt: skip
