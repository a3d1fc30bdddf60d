"""docker/compose.yaml against the specification's schema, the images it builds, and the settings of local runs."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

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
DONE = {"bucket", "edge-module", "volumes"}
# They start another image's program: nginx as the file browser's image has it.
BORROWED = {"front", "volumes"}
# They bring no program to ask with; nothing waits for their health.
UNASKED = {"loki", "tempo", "alloy"} | DONE
# Images have these with mode 1777.
OPEN = {"/tmp", "/var/log/grafana"}
# Targets of mounts that an image does not have.
OWN = {"/srv/keys", "/srv/live", "/srv/marina/config/local", "/srv/marina/.marina", "/run/gateways"}
each_service = pytest.mark.parametrize("name", SERVICES)
each_built = pytest.mark.parametrize("name", sorted(set(BUILT) - BORROWED))


def image(name: str) -> Dockerfile:
    build = BUILT[name]["build"]
    return read(ROOT / build["dockerfile"], build.get("target"))


def mounts(name: str) -> list[tuple[str, str]]:
    """Return the sources and targets of the mounts from the host."""
    split = [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).split(":") for volume in SERVICES[name].get("volumes", [])]
    return [(source, target) for source, target, *_ in split]


def networks(name: str) -> set[str]:
    return set(SERVICES[name].get("networks", ()))


def aliases(name: str) -> dict[str, set[str]]:
    """Return the names of a service beside its own, by network."""
    found = SERVICES[name].get("networks", ())
    return {network: set(found[network].get("aliases", ())) for network in found} if isinstance(found, dict) else {}


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
    assert SERVICES["alloy"]["networks"] == ["observe"]
    assert COMPOSE["networks"]["observe"]["internal"]


@each_service
def test_an_image_comes_by_a_variable_with_a_version(name: str) -> None:
    found = re.fullmatch(r"\$\{([A-Z_]+_IMAGE):-([\w./-]+)(:[\w.-]+)?\}", SERVICES[name]["image"])
    assert found, SERVICES[name]["image"]
    assert name in BUILT or re.search(r"\d", found[3])
    assert found[3] != ":latest"


def test_only_front_edge_and_grafana_are_published_and_that_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"front", "edge", "grafana"}
    for ports in published.values():
        assert all(port.startswith("${MARINA_PUBLISH:-127.0.0.1}:") for port in ports)
    open_networks = {name for name, network in COMPOSE["networks"].items() if not network.get("internal")}
    joined = {name: sorted(networks(name) & open_networks) for name in SERVICES}
    assert {name: one for name, one in joined.items() if one} == {
        "front": ["front"],
        "edge": ["front_edge"],
        "grafana": ["front_grafana"],
    }
    assert {service.get("network_mode", "none") for service in SERVICES.values()} == {"none"}


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
        named = source in COMPOSE["volumes"]
        generated = named or any(part in {"secrets", "data", "model_mars", ".marina"} for part in host.parts)
        assert host.exists() or generated, source
        inside = target.removeprefix(f"{home}/")
        assert {target, inside} & (known | copied) or target in OWN, target


@each_service
def test_user_of_a_service_may_write_to_its_tmpfs(name: str) -> None:
    """Docker gives a tmpfs to root, with the mode of the image's folder below it, whatever mode is asked for."""
    for words in SERVICES[name].get("tmpfs", []):
        folder, _, options = words.partition(":")
        assert folder in OPEN or "uid=${MARINA_UID},gid=${MARINA_GID}" in options, folder


def test_addresses_are_those_of_services() -> None:
    words = FILE.read_text() + "".join(path.read_text() for path in (ROOT / "docker").glob("*/**/*.*ml"))
    words += (ROOT / "docker/alloy/config.alloy").read_text() + (ROOT / "docker/minio/bucket.sh").read_text()
    hosts = set(re.findall(r"https?://(?:\$\([^)]*\):\$\([^)]*\)@)?([a-z][a-z0-9-]*)(?::\d+)", words)) | set(
        re.findall(r"@([a-z]+):\d+", words)
    )
    assert hosts
    assert hosts <= set(SERVICES) | {each for name in SERVICES for found in aliases(name).values() for each in found}


def test_a_service_waits_only_for_what_has_a_sign_of_health() -> None:
    told = {name for name, service in SERVICES.items() if "healthcheck" in service}
    told |= {name for name in set(BUILT) - BORROWED if image(name).all("HEALTHCHECK")}
    assert told == set(SERVICES) - UNASKED
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if other in DONE else "service_healthy"
            # TorchServe is not healthy without the models that delivery restores; nginx answers for a starting gateway.
            started = other in {"loki", "gateway"} or other.startswith("torchserve")
            assert how["condition"] == ("service_started" if started else expected)
            # Of another profile, it may not be there at all.
            assert set(service["profiles"]) <= set(SERVICES[other]["profiles"]) or how.get("required") is False


def test_networks_join_those_who_speak_with_each_other() -> None:
    for one, other in [
        ("gateway", "torchserve"), ("gateway", "torchserve-gpu"), ("delivery", "torchserve"),
        ("delivery", "torchserve-gpu"), ("torchserve", "filebrowser"), ("torchserve", "minio"), ("delivery", "minio"),
        ("bucket", "minio"), ("delivery", "gateway"), ("prometheus", "gateway"), ("prometheus", "torchserve"),
        ("prometheus", "edge"),
        ("grafana", "prometheus"), ("grafana", "loki"), ("grafana", "tempo"), ("alloy", "loki"),
        ("gateway", "tempo"), ("torchserve", "tempo"), ("torchserve-gpu", "tempo"),
    ]:  # fmt: skip
        assert networks(one) & networks(other), (one, other)


def test_networks_part_those_who_do_not_speak_with_each_other() -> None:
    for one, other in [
        ("front", "torchserve"), ("front", "filebrowser"), ("front", "gateway"), ("front", "delivery"),
        ("front", "edge"), ("front", "grafana"), ("edge", "gateway"), ("edge", "torchserve"), ("edge", "grafana"),
        ("gateway", "filebrowser"),
        ("gateway", "minio"), ("filebrowser", "prometheus"), ("minio", "prometheus"), ("delivery", "prometheus"),
        ("torchserve", "loki"), ("torchserve", "grafana"), ("torchserve", "alloy"), ("gateway", "loki"),
    ]:  # fmt: skip
        assert not networks(one) & networks(other), (one, other)


def test_each_port_of_torchserve_is_on_the_one_network_of_those_who_use_it() -> None:
    """A name that TorchServe has on one network alone is the address at which it listens."""
    told = SERVICES["torchserve"]["environment"]
    for port, network in (("INFERENCE", "engine"), ("MANAGEMENT", "engine"), ("METRICS", "watch")):
        host = urlsplit(told[f"TS_{port}_ADDRESS"]).hostname
        assert [found for found, names in aliases("torchserve").items() if host in names] == [network]
    for name in ("gateway", "gateway-spare", "delivery"):
        host = SERVICES[name]["environment"]["MARINA_ENGINE_HOST"]
        assert host in aliases("torchserve")["engine"] & aliases("torchserve-gpu")["engine"]
        assert host not in set(SERVICES)  # such a name would mean an address on any shared network
    listening = next(word for word in SERVICES["prometheus"]["command"] if "listen-address" in word)
    host = listening.partition("=")[2].partition(":")[0]
    assert [found for found, names in aliases("prometheus").items() if host in names] == ["observe"]


def test_the_two_gateways_differ_in_their_socket_alone() -> None:
    first, spare = (dict(SERVICES[name], environment=None) for name in ("gateway", "gateway-spare"))
    assert first == spare
    sockets = {SERVICES[name]["environment"]["MARINA_GATEWAY_SOCKET"] for name in ("gateway", "gateway-spare")}
    front = (ROOT / "docker" / "front.conf").read_text()
    asked = set(re.findall(r"server unix:(\S+) ", front))
    assert asked == sockets | {f"{path}.grpc" for path in sockets}
    assert "gateways:/run/gateways" in SERVICES["front"]["volumes"] + SERVICES["gateway"]["volumes"]
    targets = yaml.safe_load((ROOT / "docker/prometheus/prometheus.yml").read_text())["scrape_configs"][0]
    assert targets["static_configs"] == [{"targets": ["gateway:5003", "gateway-spare:5003"]}]


def test_front_is_as_patient_as_the_gateway_and_takes_what_it_takes() -> None:
    front = (ROOT / "docker" / "front.conf").read_text()
    gateway = load([]).gateway
    assert int(re.search(r"proxy_read_timeout (\d+)s", front)[1]) * 1000 > gateway.max_deadline_ms  # type: ignore[index]
    assert int(re.search(r"client_max_body_size (\d+)m", front)[1]) << 20 > gateway.max_body_bytes  # type: ignore[index]
    inside = {int(port) for port in re.findall(r"listen (\d+) ", front)}
    assert inside == {int(port.rpartition(":")[2]) for port in SERVICES["front"]["ports"]}
    assert inside == {gateway.port, gateway.grpc_port}


def test_prometheus_scrapes_the_edge_where_it_runs_alone() -> None:
    [source] = [volume for volume in SERVICES["prometheus"]["volumes"] if "/srv/targets.yml" in volume]
    folder = ROOT / "docker" / "prometheus" / "targets"
    assert source.startswith("./prometheus/targets/${MARINA_TARGETS:-core}.yml:")
    found = {path.stem: yaml.safe_load(path.read_text()) for path in folder.iterdir()}
    assert found == {"core": [], "edge": [{"targets": ["edge:5005"]}]}
    for profiles, expected in (("core,observability", "core"), ("core,observability,edge", "edge")):
        command = [
            "make",
            "--no-print-directory",
            "--eval",
            "shown:; @echo $(MARINA_TARGETS)",
            f"PROFILES={profiles}",
            "shown",
        ]
        # The make that runs these tests exports its own.
        env = {name: value for name, value in os.environ.items() if name != "MARINA_TARGETS"}
        shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=True).stdout
        assert shown.split() == [expected]


def test_each_volume_of_metrics_and_logs_can_be_moved_and_is_bounded() -> None:
    named = {name for name in COMPOSE["volumes"] if name not in ("alloy", "gateways")}
    assert named == {"prometheus", "grafana", "loki", "tempo"}
    made = (ROOT / "docker" / "Dockerfile.filebrowser").read_text()
    for name in named:
        source = f"${{MARINA_{name.upper()}_DATA:-{name}}}"
        assert f"{source}:/srv/volumes/{name}" in SERVICES["volumes"]["volumes"]
        assert any(volume.startswith(f"{source}:/") for volume in SERVICES[name]["volumes"])
        # A volume that is not empty does not take the owner of the next image's folder.
        assert f"/srv/volumes/{name}/.marina" in made
        assert SERVICES[name]["depends_on"]["volumes"] == {"condition": "service_completed_successfully"}
    assert any("retention.size" in word for word in SERVICES["prometheus"]["command"])
    logs = yaml.safe_load((ROOT / "docker/loki/loki.yml").read_text())["limits_config"]
    traces = yaml.safe_load((ROOT / "docker/tempo/tempo.yml").read_text())
    rate = 1e6 * logs["ingestion_rate_mb"]
    assert traces["overrides"]["defaults"]["ingestion"]["rate_limit_bytes"] == rate
    assert traces["compactor"]["compaction"]["block_retention"] == logs["retention_period"] == "336h"
    words = f"at most {rate / 1e6:g} MB/s, which is {336 * 3600 * rate / 1e9:.0f} GB in two weeks"
    assert words in " ".join((ROOT / "docs" / "containers.md").read_text().split())


def test_secrets_come_from_files_that_nobody_publishes() -> None:
    used = {secret for service in SERVICES.values() for secret in service.get("secrets", [])}
    built = {secret for service in BUILT.values() for secret in service["build"]["secrets"]}
    assert used | built == set(COMPOSE["secrets"])
    assert used & built == set()
    for name in used:
        assert COMPOSE["secrets"][name]["file"].startswith("./secrets/")
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
    [name] = found.instances
    assert all(name in aliases(service)["engine"] for service in ("gateway", "gateway-spare"))
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
    differing = {"profiles", "image", "build", "deploy"}
    cpu, gpu = (
        {key: value for key, value in SERVICES[name].items() if key not in differing}
        for name in ("torchserve", "torchserve-gpu")
    )
    assert cpu == gpu
    assert "torchserve" in aliases("torchserve-gpu")["watch"]  # for Prometheus


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
    assert ("tempo", folder) in mounts("tempo")
