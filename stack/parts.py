"""What the local stack consists of: for each part its command, environment, ports and sign of readiness."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engines.profiles import TORCHSERVE
from engines.torchserve import api
from errors import StackError
from settings import Settings
from settings.load import ROOT
from settings.schema import (
    EngineSettings,
    GatewaySettings,
    NginxStoreSettings,
    RayServeSettings,
    S3StoreSettings,
    StoreSettings,
    TorchServeSettings,
)
from stack import filebrowser, rayserve, s3, torchserve, tracing
from stack.folders import Folders

KEEPER = "keeper"


@dataclass(frozen=True)
class Port:
    """A TCP port that a part listens on, and the setting that moves it."""

    number: int
    setting: str


@dataclass(frozen=True)
class Part:
    """One program of the stack; `refusal` is its status for a request without a key, which it answers once it is up."""

    name: str
    command: tuple[str, ...]
    ports: tuple[Port, ...]
    ready_url: str | None  # None: it listens nowhere, and is ready when it runs
    timeout_s: float
    prepare: Callable[[], None] = lambda: None
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    refusal: int | None = None
    within: str | None = None  # the part that this one cannot outlive: with a new one comes a new one of these


def parts(settings: Settings, overrides: tuple[str, ...] = ()) -> tuple[Part, ...]:
    """The programs that `settings` ask for, in the order in which they start.

    `overrides` are handed to the gateway, which composes the same settings again in its own process.
    """
    folders = Folders.of(settings)
    engine = settings.engine
    served = [] if _elsewhere(engine) else _engine(settings, folders, overrides)
    served += _store(settings.store, folders)
    scaling = settings.scaling
    shown = () if scaling.metrics_port is None else (Port(scaling.metrics_port, "scaling.metrics_port"),)
    served += [_loop("scaler", "delivery", "scale", overrides, shown)] if scaling.models else []
    gateway = settings.gateway
    served.append(
        Part(
            name="gateway",
            command=(sys.executable, str(ROOT / "app.py"), *overrides),
            ports=_gateway_ports(gateway),
            ready_url=f"{gateway.url}/healthz",
            timeout_s=30,
        )
    )
    served.append(_loop(KEEPER, "stack", "keep", overrides))
    return tuple(served)


def _elsewhere(engine: EngineSettings) -> bool:
    """Whether models run on other hosts only: then there is no engine to start here."""
    return all(node.inference_url != engine.inference_url for node in engine.nodes) if engine.nodes else False


def _engine(settings: Settings, folders: Folders, overrides: tuple[str, ...]) -> list[Part]:
    if isinstance(settings.engine, RayServeSettings):
        return _rayserve(settings, settings.engine, folders, overrides)
    return [_torchserve(settings, settings.engine, folders)]


def _rayserve(settings: Settings, engine: RayServeSettings, folders: Folders, overrides: tuple[str, ...]) -> list[Part]:
    """A head, unless there is a cluster to join, and the manager; the Front, or Ray's proxy, listens in the head."""
    manager = Part(
        name=rayserve.MANAGER,
        command=rayserve.manager_command(overrides),
        ports=(
            Port(engine.management_port, "engine.management_port"),
            Port(engine.metrics_port, "engine.metrics_port"),
        ),
        # Its own, not that of the requests, which are answered without it. It answers once both can.
        ready_url=engine.management_url + api.PING,
        refusal=400,
        timeout_s=2 * engine.start_timeout_s,
        prepare=lambda: rayserve.prepare(folders, engine),
        env=rayserve.manager_environment(engine, folders),
        within=rayserve.HEAD if engine.address is None else None,
    )
    if engine.address is not None:
        return [manager]
    head = Part(
        name=rayserve.HEAD,
        command=rayserve.head_command(engine, folders),
        ports=(Port(engine.ray_port, "engine.ray_port"), Port(engine.inference_port, "engine.inference_port")),
        ready_url=None,
        timeout_s=engine.start_timeout_s,
        prepare=lambda: rayserve.prepare(folders),
        env=rayserve.environment(engine, folders) | tracing.environment(settings.gateway.tracing),
    )
    return [head, manager]


def _torchserve(settings: Settings, engine: TorchServeSettings, folders: Folders) -> Part:
    return Part(
        name=TORCHSERVE.part,
        command=torchserve.command(folders),
        ports=(
            Port(engine.inference_port, "engine.inference_port"),
            Port(engine.management_port, "engine.management_port"),
            Port(engine.metrics_port, "engine.metrics_port"),
            Port(engine.grpc_inference_port, "engine.grpc_inference_port"),
            Port(engine.grpc_management_port, "engine.grpc_management_port"),
        ),
        ready_url=engine.inference_url + api.PING,
        refusal=400,
        timeout_s=engine.start_timeout_s,
        prepare=lambda: torchserve.prepare(folders),
        env=torchserve.environment(settings, folders),
        cwd=folders.torchserve,
    )


def _store(store: StoreSettings, folders: Folders) -> list[Part]:
    """The server that the store's archives are fetched from, where it is one of this machine."""
    match store:
        case NginxStoreSettings():
            return [_filebrowser(store, folders)]
        case S3StoreSettings() if store.local_folder is not None:
            return [_s3(store)]
        case _:
            return []


def _filebrowser(store: NginxStoreSettings, folders: Folders) -> Part:
    return Part(
        name="filebrowser",
        command=filebrowser.command(_program("nginx", "/usr/sbin/nginx"), folders),
        ports=(Port(store.port, "store.port"),),
        ready_url=f"{store.url}/healthz",
        timeout_s=15,
        prepare=lambda: filebrowser.prepare(store, folders),
    )


def _s3(bucket: S3StoreSettings) -> Part:
    return Part(
        name="s3",
        command=s3.command(bucket),
        ports=(Port(bucket.port, "store.endpoint"),),
        ready_url=f"{bucket.endpoint}/{bucket.bucket}",
        refusal=403,
        timeout_s=15,
        prepare=lambda: s3.prepare(bucket),
        env=s3.environment(bucket),
    )


def _loop(name: str, room: str, command: str, overrides: tuple[str, ...], ports: tuple[Port, ...] = ()) -> Part:
    """Return a part that runs until the stack stops: the keeper of parts and models, the scaler of workers."""
    return Part(
        name=name,
        command=(sys.executable, "-m", room, command, *overrides),
        ports=ports,
        ready_url=None,
        timeout_s=15,
    )


def _gateway_ports(gateway: GatewaySettings) -> tuple[Port, ...]:
    main = Port(gateway.port, "gateway.port")
    return (main,) if gateway.grpc_port is None else (main, Port(gateway.grpc_port, "gateway.grpc_port"))


def started_parts(settings: Settings, overrides: tuple[str, ...] = ()) -> tuple[Part, ...]:
    """`parts`, and the edge where one was started: `make edge` adds it to a stack, `make down` takes it away."""
    there = (Folders.of(settings).edge / "nginx.conf").is_file()
    return (*parts(settings, overrides), edge_part(settings)) if there else parts(settings, overrides)


def edge_part(settings: Settings) -> Part:
    """The policy edge over the configuration that `python -m edge` has written."""
    edge = settings.edge
    return Part(
        name="edge",
        command=filebrowser.over(_program("nginx", "/usr/sbin/nginx"), Folders.of(settings).edge),
        ports=(Port(edge.port, "edge.port"),),
        ready_url=f"{edge.url}/healthz",
        timeout_s=15,
    )


def _program(name: str, fallback: str) -> str:
    """Path of an installed program; Debian keeps servers in /usr/sbin, which is not on every PATH."""
    found = shutil.which(name) or shutil.which(fallback)
    if found is None:
        raise StackError(f"{name} is not installed; `make setup` installs it, or run: apt-get install nginx-light")
    return found
