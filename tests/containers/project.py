"""A copy of the project with a stack in containers of its own: the make targets that users type, on free ports."""

import contextlib
import functools
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import requests
from docker.models.containers import Container
from docker.models.networks import Network

import docker
from bench.local_stack import free_ports
from settings.load import ROOT

PUBLISHED = ("MARINA_GATEWAY_PORT", "MARINA_GATEWAY_GRPC_PORT", "MARINA_EDGE_PORT", "MARINA_GRAFANA_PORT")
# What make hands to the programs that it runs would reach the make of the copy.
OF_MAKE = {"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "ARGS", "MODEL", "PROFILES", "COMPOSE"}
LONGEST_S = 3600.0  # the first build downloads torch
END_OF_LOGS = 60  # lines of each part


@dataclass(frozen=True)
class Project:
    """A folder with the project's files, and the environment that gives its containers names and ports.

    `variables` go to every make target beside the profiles.
    """

    folder: Path
    env: dict[str, str] = field(repr=False)
    profiles: str = "core"
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Compose's name of this project."""
        return self.env["COMPOSE_PROJECT_NAME"]

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.env['MARINA_GATEWAY_PORT']}"

    @property
    def gateway_grpc(self) -> str:
        return f"127.0.0.1:{self.env['MARINA_GATEWAY_GRPC_PORT']}"

    @property
    def edge(self) -> str:
        return f"http://127.0.0.1:{self.env['MARINA_EDGE_PORT']}"

    @property
    def key(self) -> str:
        """The key of a client."""
        return (self.folder / "docker" / "secrets" / "gateway_key").read_text().strip()

    @property
    def headers(self) -> dict[str, str]:
        """This key, as a user sends it."""
        return {"Authorization": f"Bearer {self.key}"}

    def make(self, target: str, status: int = 0, **variables: str) -> str:
        """Run a make target with this stack's profiles to its end; return what it printed, errors too."""
        given = {"PROFILES": self.profiles, **self.variables, **variables}
        words = [f"{name}={value}" for name, value in given.items()]
        return self.run("make", target, *words, status=status)

    def run(self, *command: str, status: int = 0) -> str:
        """Run any command in the folder; fail the test unless it exits with `status`."""
        code, printed = self.attempt(*command)
        assert code == status, f"{' '.join(command)} exits with {code}:\n{printed}"
        return printed

    def attempt(self, *command: str) -> tuple[int, str]:
        """Run any command in the folder; return its exit status and what it printed."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=LONGEST_S,
        )
        return done.returncode, done.stdout

    def start(self, *services: str) -> str:
        """`make compose_up`, of some services only if any is named; a failure shows the end of every part's log."""
        try:
            return self.make("compose_up", ARGS=" ".join(services))
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.logs(END_OF_LOGS)}") from None

    def get(self, path: str, timeout_s: float = 10) -> requests.Response:
        """Ask the gateway with a client's key."""
        return requests.get(f"{self.gateway}{path}", headers=self.headers, timeout=timeout_s)

    def containers(self, service: str | None = None) -> list[Container]:
        """Return the containers of one service or of all, stopped ones too, in the order of their names."""
        labels = [f"com.docker.compose.project={self.name}"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        found = engine().containers.list(all=True, filters={"label": labels}, ignore_removed=True)
        return sorted(found, key=lambda each: str(each.name))

    def container(self, service: str) -> Container:
        """Return the only container of a service."""
        [found] = self.containers(service)
        return found

    def network(self, name: str) -> Network:
        """Return one of Compose's networks by its name in compose.yaml."""
        [found] = engine().networks.list(names=[f"{self.name}_{name}"])
        return found

    def execute(self, service: str, *command: str, status: int = 0) -> str:
        """Run a command inside a container and return what it printed."""
        code, output = self.container(service).exec_run(list(command))
        assert isinstance(output, bytes)  # without a stream
        printed = output.decode(errors="replace")
        assert code == status, f"{service}: {' '.join(command)} exits with {code}:\n{printed}"
        return printed

    def logs(self, lines: int | None = None) -> str:
        """Return the logs of all parts, each under its name and state."""
        parts = []
        for each in self.containers():
            written = each.logs(stream=False, tail=lines if lines is not None else "all").decode(errors="replace")
            parts.append(f"--- {each.name} ({each.status}) ---\n{written}")
        return "\n".join(parts)

    def remove(self) -> None:
        """Take everything of this stack down, whatever state it is in: containers, networks, volumes, data."""
        for each in self.containers():
            each.remove(force=True, v=True)
        mine = {"label": f"com.docker.compose.project={self.name}"}
        for network in engine().networks.list(filters=mine):
            network.remove()
        for volume in engine().volumes.list(filters=mine):
            volume.remove(force=True)
        shutil.rmtree(self.folder / "docker" / "data", ignore_errors=True)


@functools.cache
def engine() -> docker.DockerClient:
    """The Docker engine of this machine; whoever ends the run closes it."""
    return docker.from_env(timeout=120)


def built(name: str, context: Path) -> str:
    """Build the image of a part that stands in for another's, from the Dockerfile of that name here; return its tag."""
    tag, dockerfile = f"marina-test-{name}", Path(__file__).parent / name / "Dockerfile"
    env = {**os.environ, "DOCKER_BUILDKIT": "1"}
    subprocess.run(["docker", "build", "--quiet", "-t", tag, "-f", dockerfile, context], env=env, check=True)
    return tag


def copied(folder: Path, name: str, images: Mapping[str, str], profiles: str = "core") -> Project:
    """Copy the project's files, changed ones too, to a new folder; nothing is started."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    for path in listed.stdout.decode().split("\0"):
        source = ROOT / path
        if path and source.is_file() and not source.is_symlink():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / path)
    return project_in(folder, name, images, profiles)


def cloned(folder: Path, name: str, images: Mapping[str, str], profiles: str = "core") -> Project:
    """Clone the last commit to a new folder, as a user does."""
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
    return project_in(folder, name, images, profiles)


def project_in(folder: Path, name: str, images: Mapping[str, str], profiles: str = "core") -> Project:
    """Give a folder's stack a name, ports and images of its own; it shares the environment of this Python."""
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)
    kept = {key: value for key, value in os.environ.items() if key not in OF_MAKE and not key.startswith("MARINA_")}
    ports = dict(zip(PUBLISHED, map(str, free_ports(len(PUBLISHED))), strict=True))
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return Project(folder, {**kept, **ports, **images, "COMPOSE_PROJECT_NAME": f"marina-{name}-{digest}"}, profiles)


@contextlib.contextmanager
def running(
    project: Project, archives: Path | None = None, models: tuple[str, ...] = (), services: tuple[str, ...] = ()
) -> Iterator[Project]:
    """Start a project's stack, roll `models` out, and take everything down at the end."""
    try:
        if archives is not None:
            offer(project, archives)
        project.start(*services)
        for model in models:
            project.make("compose_upload", MODEL=model)
        yield project
    finally:
        project.remove()


def offer(project: Project, archives: Path) -> None:
    """Put built archives where users have them after `make generate_mar`."""
    shutil.copytree(archives, project.folder / "model_mars", dirs_exist_ok=True)
