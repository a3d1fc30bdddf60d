"""docker/compose.yaml against the specification's schema, the images it builds, and the settings of local runs."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from settings import load
from settings.load import ROOT
from stack.compose import CLIENTS
from stack.folders import Folders
from stack.torchserve import environment
from tests.docker.dockerfile import Dockerfile, read

FILE = ROOT / "docker" / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BUILT = {name: service for name, service in SERVICES.items() if "build" in service}
# They do one thing and end; others wait until they are done.
DONE = {"bucket", "edge-module"}
# They bring no program to ask with; nothing waits for their health.
UNASKED = {"loki", "tempo", "alloy"} | DONE
each_service = pytest.mark.parametrize("name", SERVICES)
each_built = pytest.mark.parametrize("name", BUILT)


def image(name: str) -> Dockerfile:
    build = BUILT[name]["build"]
    return read(ROOT / build["dockerfile"], build.get("target"))


def mounts(name: str) -> list[tuple[str, str]]:
    """Return the sources and targets of the mounts from the host."""
    split = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":") for volume in SERVICES[name].get("volumes", [])]
    return [(source, target) for source, target, *_ in split]


def test_it_is_what_the_compose_specification_allows() -> None:
    checker = Path(sys.executable).with_name("check-jsonschema")
    done = subprocess.run(
        [checker, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


@each_service
def test_a_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["restart"] == ("no" if name in DONE else "unless-stopped")
    assert service["profiles"]
    # Docker's log files belong to root; everybody else is the user that prepared the stack, never a default.
    assert service["user"] == "0:0" if name == "alloy" else service["user"].startswith("${MARINA_UID:?")


def test_the_one_that_is_root_can_reach_nothing_but_what_watches() -> None:
    assert SERVICES["alloy"]["networks"] == ["watch"]
    assert COMPOSE["networks"]["watch"]["internal"]


@each_service
def test_an_image_comes_by_a_variable_with_a_version(name: str) -> None:
    found = re.fullmatch(r"\$\{([A-Z_]+_IMAGE):-([\w./-]+)(:[\w.-]+)?\}", SERVICES[name]["image"])
    assert found, SERVICES[name]["image"]
    assert name in BUILT or re.search(r"\d", found[3])
    assert found[3] != ":latest"


def test_only_gateway_edge_and_grafana_are_published_and_that_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"gateway", "edge", "grafana"}
    for ports in published.values():
        assert all(port.startswith("${MARINA_PUBLISH:-127.0.0.1}:") for port in ports)
    assert {name for name, service in SERVICES.items() if "front" in service["networks"]} == set(published)
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {"front"}
    assert not [name for name, service in SERVICES.items() if "network_mode" in service]


@each_built
def test_ports_inside_are_those_of_the_image(name: str) -> None:
    exposed = {port for one in image(name).all("EXPOSE") for port in one.words}
    inside = {port.rpartition(":")[2] for port in SERVICES[name].get("ports", [])}
    assert inside <= exposed


@each_built
def test_what_is_mounted_is_there_and_takes_the_place_of_what_the_image_has(name: str) -> None:
    made = image(name)
    known = {word.rstrip("/") for one in made.final for word in one.rest.replace('"', " ").replace(",", " ").split()}
    known |= set(made.env.values())
    copied = {
        f"{target.rstrip('/')}/{Path(source).name}"
        for one in made.all("COPY")
        for *sources, target in [one.words]
        for source in sources
    }
    home = next((one.rest for one in made.all("WORKDIR")), "/")
    for source, target in mounts(name):
        host = (FILE.parent / source).resolve()
        generated = any(part in {"secrets", "data", "model_mars", ".marina"} for part in host.relative_to(ROOT).parts)
        assert host.exists() or generated, source
        inside = target.removeprefix(f"{home}/")
        assert {target, inside} & (known | copied) or target in {"/srv/keys", "/srv/marina/config/local"}, target


@each_built
def test_user_of_a_service_may_write_to_its_tmpfs(name: str) -> None:
    """Docker gives a tmpfs to root, with the mode of the image's folder below it unless one is named."""
    for words in SERVICES[name].get("tmpfs", []):
        folder, _, options = words.partition(":")
        made = [one.rest for one in image(name).all("RUN") if re.search(rf"-m 1777 {folder}\b", one.rest)]
        assert folder == "/tmp" or "mode=1777" in options or made, folder


def test_addresses_are_those_of_services() -> None:
    words = FILE.read_text() + "".join(path.read_text() for path in (ROOT / "docker").glob("*/**/*.*ml"))
    words += (ROOT / "docker/alloy/config.alloy").read_text() + (ROOT / "docker/minio/bucket.sh").read_text()
    hosts = set(re.findall(r"https?://(?:\$\([^)]*\):\$\([^)]*\)@)?([a-z][a-z0-9-]*)(?::\d+)", words)) | set(
        re.findall(r"@([a-z]+):\d+", words)
    )
    assert hosts
    assert hosts <= set(SERVICES)


def test_a_service_waits_only_for_what_has_a_sign_of_health() -> None:
    told = {name for name, service in SERVICES.items() if "healthcheck" in service}
    told |= {name for name in BUILT if image(name).all("HEALTHCHECK")}
    assert told == set(SERVICES) - UNASKED
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in DONE else "service_healthy"
            assert how["condition"] == ("service_started" if other == "loki" else expected)
            # Of another profile, it may not be there at all.
            assert set(service["profiles"]) <= set(SERVICES[other]["profiles"]) or how.get("required") is False


def test_networks_join_those_who_speak_with_each_other() -> None:
    def of(name: str) -> set[str]:
        return set(SERVICES[name]["networks"])

    for one, other in [
        ("gateway", "torchserve"), ("gateway", "torchserve-gpu"), ("delivery", "torchserve"),
        ("delivery", "torchserve-gpu"), ("torchserve", "filebrowser"), ("torchserve", "minio"), ("delivery", "minio"),
        ("bucket", "minio"), ("delivery", "gateway"), ("prometheus", "gateway"), ("prometheus", "torchserve"),
        ("prometheus", "edge"),
        ("grafana", "prometheus"), ("grafana", "loki"), ("grafana", "tempo"), ("alloy", "loki"),
        ("gateway", "tempo"), ("torchserve", "tempo"), ("torchserve-gpu", "tempo"),
    ]:  # fmt: skip
        assert of(one) & of(other), (one, other)


def test_secrets_come_from_files_that_nobody_publishes() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    assert used == set(COMPOSE["secrets"])
    for secret in COMPOSE["secrets"].values():
        assert secret["file"].startswith("./secrets/")
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"docker/secrets/", "docker/data/", "docker/.env"} <= set(ignored)
    given = {key: str(value) for service in SERVICES.values() for key, value in service.get("environment", {}).items()}
    for key, value in given.items():
        if re.search(r"PASSWORD|SECRET|ROOT_USER|KEY", key):
            assert value.startswith(("/run/secrets/", "/srv/keys/")), key


def test_rollouts_read_the_figures_of_every_gateway_with_a_key_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    delivery = SERVICES["delivery"]
    for name, value in delivery["environment"].items():
        monkeypatch.setenv(name, str(value))
    found = load().gateway
    assert found.instances == ["gateway"]
    secret = Path(str(found.api_key_file))
    assert secret == Path("/run/secrets") / secret.name
    assert secret.name in delivery["secrets"]
    assert secret.name in CLIENTS.values()
    # What delivery writes of a version under trial is what the gateway reads.
    state = read(ROOT / "docker/Dockerfile.delivery").env["MARINA_STATE"]
    assert ("./data/delivery", state) in mounts("delivery")
    assert ("./data/delivery", state) in mounts("gateway")


def test_torchserve_may_fetch_from_the_two_stores_and_from_nowhere_else() -> None:
    browser, bucket = SERVICES["torchserve"]["environment"]["TS_ALLOWED_URLS"].split(",")
    store = load(["store.host=filebrowser"]).store
    assert re.sub(r"\\(.)", r"\1", browser) == re.sub(r"\\(.)", r"\1", store.allowed_urls)
    s3 = load(["store=s3", "store.endpoint=http://minio:9000"]).store
    assert re.sub(r"\\(.)", r"\1", bucket) == re.sub(r"\\(.)", r"\1", s3.allowed_urls)
    for wrong in (
        "http://evil/files/a.mar",
        "http://filebrowser:5002/files/../a.mar",
        "http://minio:9000/other/a.mar?x=1",
    ):
        assert not any(re.fullmatch(pattern, wrong) for pattern in (browser, bucket))


def test_the_two_torchserves_differ_in_their_image_and_devices_alone() -> None:
    differing = {"profiles", "image", "build", "networks", "deploy"}
    cpu, gpu = (
        {key: value for key, value in SERVICES[name].items() if key not in differing}
        for name in ("torchserve", "torchserve-gpu")
    )
    assert cpu == gpu
    assert all("torchserve" in network["aliases"] for network in SERVICES["torchserve-gpu"]["networks"].values())


def test_torchserve_is_told_of_tracing_by_the_variables_of_local_runs(tmp_path: Path) -> None:
    local = environment(load([f"paths.state={tmp_path}"]), Folders.of(load([f"paths.state={tmp_path}"])))
    told = SERVICES["torchserve"]["environment"]
    assert {name for name in local if name.startswith("OTEL_")} == {name for name in told if name.startswith("OTEL_")}
    assert local["OTEL_TRACES_SAMPLER"] == told["OTEL_TRACES_SAMPLER"]
    # One name for gateway and workers: whoever sets it in docker/.env gets whole traces, or none.
    for service, name in (("torchserve", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"), ("gateway", "MARINA_TRACES_ENDPOINT")):
        assert SERVICES[service]["environment"][name] == "${MARINA_TRACES_ENDPOINT:-}"


def test_tempo_listens_where_the_documents_send_traces() -> None:
    config = yaml.safe_load((ROOT / "docker" / "tempo" / "tempo.yml").read_text())
    endpoint = config["distributor"]["receivers"]["otlp"]["protocols"]["http"]["endpoint"]
    sources = yaml.safe_load((ROOT / "docker/grafana/provisioning/datasources/marina.yml").read_text())["datasources"]
    [asked] = [each["url"] for each in sources if each["type"] == "tempo"]
    assert asked == f"http://tempo:{config['server']['http_listen_port']}"
    for document in ("observability.md", "containers.md"):
        assert f"http://tempo:{endpoint.rpartition(':')[2]}/v1/traces" in (ROOT / "docs" / document).read_text()
    folder = config["storage"]["trace"]["local"]["path"].rpartition("/")[0]
    assert ("./data/tempo", folder) in mounts("tempo")
