"""Each image: any user, no privileges, its health, its contents, its size, and what two builds have in common."""

import contextlib
import json
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from docker.models.containers import Container

from settings.load import ROOT
from stack import sbom
from tests.containers.project import engine, project_in
from tests.containers.summary import Summary
from tests.docker.dockerfile import read
from tests.polling import wait_for

ANYBODY = "4321:4321"
# The folders that a part writes to, and the options of a tmpfs there.
WRITTEN = {
    "TORCHSERVE_IMAGE": {"/tmp": "exec", "/var/lib/torchserve": ""},
    "GATEWAY_IMAGE": {"/tmp": "", "/srv/marina/.marina": ""},
    "DELIVERY_IMAGE": {"/tmp": "", "/srv/marina/.marina": ""},
    "FILEBROWSER_IMAGE": {"/run/marina": ""},
    "EDGE_IMAGE": {"/run/marina": ""},
}
PYTHON = ("GATEWAY_IMAGE", "DELIVERY_IMAGE")
# Above the base image.
LARGEST_MB = {"GATEWAY_IMAGE": 110, "DELIVERY_IMAGE": 90}
SECONDS = 180
NOTHING: Mapping[str, str] = {}
each_part = pytest.mark.parametrize("part", WRITTEN)
each_python_part = pytest.mark.parametrize("part", PYTHON)

# Imports everything that a part may import and prints the packages of which nothing was loaded.
UNUSED = """
import importlib, importlib.metadata, pkgutil, sys
for name in sys.argv[1:]:
    room = importlib.import_module(name)
    for module in pkgutil.walk_packages(getattr(room, "__path__", []), name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
loaded = {name.partition(".")[0] for name in sys.modules}
packages = importlib.metadata.packages_distributions()
used = {each for name in loaded for each in packages.get(name, [])}
print("\\n".join(sorted({each.metadata["Name"] for each in importlib.metadata.distributions()} - used)))
"""
ROOMS = {
    "GATEWAY_IMAGE": ("app", "gateway", "settings", "deployments", "archive"),
    "DELIVERY_IMAGE": ("upload_model", "delivery", "settings", "deployments", "archive"),
}
# Loaded later or never, each for a reason.
RUN_LATER = {
    "GATEWAY_IMAGE": {
        "fastapi_offline",  # its files alone are served
        "h11",  # uvicorn requires it and uses httptools
        "pycparser",  # cffi requires it
        "uvloop",  # the server loads it when it starts
    },
    "DELIVERY_IMAGE": {"pycparser"},
}


@pytest.fixture(scope="module")
def policies(images: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Maps the folder of the sample policy, compiled by the edge's other image, to the edge's place for it."""
    folder = tmp_path_factory.mktemp("policy")
    copy = ["-c", "cp -r /srv/edge/. /copy"]
    run = engine().containers.run
    run(images["EDGE_MODULE_IMAGE"], copy, entrypoint="sh", user="0", remove=True, volumes=[f"{folder}:/copy"])
    folder.chmod(0o755)
    return {str(folder): "/srv/edge"}


@contextlib.contextmanager
def started(image: str, written: dict[str, str], mounted: Mapping[str, str] = NOTHING) -> Iterator[Container]:
    """Run an image as somebody that it does not know, read-only and without any capability."""
    container = engine().containers.run(
        image,
        detach=True,
        init=True,
        user=ANYBODY,
        read_only=True,
        cap_drop=["ALL"],
        security_opt=["no-new-privileges:true"],
        tmpfs=written,
        volumes=[f"{host}:{inside}:ro" for host, inside in mounted.items()],
        mem_limit="2g",
        labels=["marina.tests"],
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def health(container: Container) -> str:
    container.reload()
    return str(container.attrs["State"]["Health"]["Status"])


def execute(container: Container, command: str) -> None:
    code, printed = container.exec_run(["bash", "-c", command])
    assert code == 0, printed


@each_part
def test_anybody_runs_the_image_and_its_health_tells_starting_alive_and_hung_apart(
    images: dict[str, str], policies: dict[str, str], part: str
) -> None:
    with started(images[part], WRITTEN[part], policies if part == "EDGE_IMAGE" else NOTHING) as container:
        assert health(container) == "starting"
        wait_for(lambda: health(container) == "healthy", seconds=SECONDS)
        execute(container, "kill -STOP -1")
        if part == "DELIVERY_IMAGE":  # a turn with a rollout takes minutes, and so does its health
            execute(container, "touch --date '301 seconds ago' /srv/marina/.marina/keeper")
        wait_for(lambda: health(container) == "unhealthy", seconds=SECONDS)
        execute(container, "kill -CONT -1")
        wait_for(lambda: health(container) == "healthy", seconds=SECONDS)


def test_the_file_browser_takes_a_new_configuration_on_a_signal(images: dict[str, str]) -> None:
    ask = ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/5002 && printf 'GET /files/ HTTP/1.0\\r\\n\\r\\n' >&3 && cat <&3"]
    part = "FILEBROWSER_IMAGE"
    with started(images[part], WRITTEN[part]) as container:
        wait_for(lambda: health(container) == "healthy", seconds=SECONDS)
        assert b"200 OK" in container.exec_run(ask).output
        renamed = "sed -i 's/server_tokens off;/server_tokens build;/' /run/marina/nginx.conf && nginx -s reload"
        done = container.exec_run(["bash", "-c", f"{renamed} -e stderr -c /run/marina/nginx.conf"])
        assert done.exit_code == 0, done.output
        wait_for(lambda: b"200 OK" in container.exec_run(ask).output, seconds=SECONDS)


@each_part
def test_a_folder_that_a_part_writes_to_is_open_to_everybody(images: dict[str, str], part: str) -> None:
    folders = [folder for folder in WRITTEN[part] if folder != "/tmp"]
    listed = engine().containers.run(
        images[part], ["-c", f"stat -c %a {' '.join(folders)}"], entrypoint="sh", remove=True
    )
    assert set(listed.decode().split()) == {"1777"}


@each_python_part
def test_an_image_holds_nothing_that_its_part_never_imports(images: dict[str, str], part: str) -> None:
    command = ["-c", UNUSED, *ROOMS[part]]
    found = engine().containers.run(images[part], command, entrypoint="python", remove=True, network_mode="none")
    assert set(found.decode().split()) <= RUN_LATER[part]


def test_captum_loads_in_torchserves_image_as_anybody(images: dict[str, str]) -> None:
    made = engine().containers.run(
        images["TORCHSERVE_IMAGE"],
        ["-c", "from captum.attr import IntegratedGradients; print(IntegratedGradients.__name__)"],
        entrypoint="python",
        user=ANYBODY,
        read_only=True,
        tmpfs=WRITTEN["TORCHSERVE_IMAGE"],
        network_mode="none",
        remove=True,
    )
    assert made.decode().split()[-1] == "IntegratedGradients"


@each_python_part
def test_the_layers_of_a_part_stay_small(images: dict[str, str], part: str, summary: Summary) -> None:
    base = read(ROOT / "docker/Dockerfile.gateway").head[0].rest.partition("=")[2]
    own = engine().images.get(images[part]).attrs
    below = engine().images.get(base).attrs
    assert own["RootFS"]["Layers"][: len(below["RootFS"]["Layers"])] == below["RootFS"]["Layers"]
    megabytes = (own["Size"] - below["Size"]) / 1e6
    summary.add(
        "layers above the base image", ("image", "MB", "at most"), (part, f"{megabytes:.0f}", str(LARGEST_MB[part]))
    )
    assert megabytes <= LARGEST_MB[part]


def test_no_image_holds_a_secret_or_a_local_file(images: dict[str, str]) -> None:
    kept_back = (
        "-path '*/docker/secrets*' -o -path '*/config/local*' -o -name .env -o -name 'key_file.json' -o -name '*.pth'"
    )
    for part, image in images.items():
        listed = engine().containers.run(
            image, ["-c", f"find /srv /opt /etc /run -xdev \\( {kept_back} \\)"], entrypoint="sh", remove=True, user="0"
        )
        assert [line for line in listed.decode().split() if "site-packages" not in line] == [], part
        words = json.dumps(engine().images.get(image).attrs["Config"]) + json.dumps(
            engine().images.get(image).history()
        )
        assert not any(word in words for word in ("PASSWORD", "API_KEY=", "SECRET=")), part


def test_a_proxys_certificates_build_an_image_and_are_in_none_of_its_layers(
    images: dict[str, str], tmp_path: Path
) -> None:
    marker = uuid.uuid4().hex
    trusted = Path("/etc/ssl/certs/ca-certificates.crt").read_text()
    (tmp_path / "ca.pem").write_text(f"# {marker}\n{trusted}")
    tag = f"marina-delivery:ca-{marker[:8]}"
    build = ["docker", "build", "--no-cache", "--quiet", "--file", "docker/Dockerfile.delivery", "--tag", tag]
    secret = ["--secret", f"id=ca,src={tmp_path}/ca.pem", "--build-arg", "CA=yes", "."]
    env = project_in(ROOT, "ca", images).env | {"DOCKER_BUILDKIT": "1"}
    try:
        done = subprocess.run([*build, *secret], cwd=ROOT, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found = f"docker save {tag} | tar --extract --to-stdout | grep --count --text {marker}"
        assert subprocess.run(["sh", "-c", found], capture_output=True, text=True, check=False).stdout.strip() == "0"
    finally:
        subprocess.run(["docker", "rmi", "--force", tag], capture_output=True, check=False)


# TorchServe's is left out for the time that torch takes; the commands of its own layers are those of these.
@pytest.mark.parametrize("name", ["gateway", "delivery", "filebrowser", "edge"])
def test_two_builds_of_an_image_have_the_same_files(images: dict[str, str], name: str, summary: Summary) -> None:
    first, second = (_files(name, number) for number in range(2))
    different = {path for path in first.keys() | second.keys() if first.get(path) != second.get(path)}
    summary.add(
        "two builds", ("image", "files", "different"), (name, str(len(first)), ", ".join(sorted(different)) or "none")
    )
    assert different == set()


def _files(name: str, number: int) -> dict[str, str]:
    """Build an image from nothing and return mode, owner and hash of each of its files."""
    tag = f"marina-{name}:again-{number}"
    trust = ["--secret", "id=ca,src=/etc/ssl/certs/ca-certificates.crt", "--build-arg", "CA=yes"]
    build = [
        "docker",
        "build",
        "--no-cache",
        "--quiet",
        "--file",
        f"docker/Dockerfile.{name}",
        "--tag",
        tag,
        *trust,
        ".",
    ]
    try:
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
        script = r"find / -xdev -type f -printf '%m %U:%G ' -exec sha256sum '{}' \;"
        listed = engine().containers.run(tag, ["-c", script], entrypoint="sh", user="0", remove=True).decode()
    finally:
        subprocess.run(["docker", "rmi", "--force", tag], capture_output=True, check=False)
    found = (line.split(maxsplit=3) for line in listed.splitlines())
    engines_own = ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf", "/.dockerenv")
    return {path: f"{mode} {owner} {digest}" for mode, owner, digest, path in found if path not in engines_own}


def test_every_image_has_a_list_of_its_contents(images: dict[str, str], tmp_path: Path) -> None:
    for image in images.values():
        assert "MB" in sbom.write(image, tmp_path)
    name = images["GATEWAY_IMAGE"].replace(":", "-")
    bom = json.loads((tmp_path / f"{name}.cdx.json").read_text())
    pinned = dict(
        line.split("#")[0].strip().split("==")
        for line in (ROOT / "requirements-gateway.txt").read_text().splitlines()
        if "==" in line
    )
    listed = {each["name"].lower().replace("_", "-"): each["version"] for each in bom["components"]}
    assert listed.items() >= pinned.items()
    assert "libc6 " in (tmp_path / f"{name}.packages.txt").read_text()
