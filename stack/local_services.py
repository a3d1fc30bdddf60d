"""The services of the local stack: for each its command, environment, ports and readiness check."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from engines.profiles import TORCHSERVE
from engines.ray.programs import head_command, manager_command
from engines.torchserve import api
from errors import PortInUse, StackError
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
from stack import ray_serve, store_servers, torchserve
from stack.folders import Folders

KEEPER = "keeper"


@dataclass(frozen=True)
class Port:
    """A TCP port of a service, and the setting that changes it."""

    number: int
    setting: str


@dataclass(frozen=True)
class Service:
    """One program of the stack; `refusal` is its status for a request without a key, once it is up."""

    name: str
    command: tuple[str, ...]
    ports: tuple[Port, ...]
    ready_url: str | None  # None: it has no port, and is ready when it runs
    timeout_s: float
    prepare: Callable[[], None] = lambda: None
    env: dict[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    refusal: int | None = None
    within: str | None = None  # the service with which this one ends and must be started again


def services(settings: Settings, overrides: tuple[str, ...] = ()) -> tuple[Service, ...]:
    """Return the programs that the settings describe, in the order in which they start.

    Programs that compose the settings again in their own process get `overrides`.
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
        Service(
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
    """Return True when models run on other hosts only, or in an engine that others start."""
    if engine.external:
        return True
    return all(node.inference_url != engine.inference_url for node in engine.nodes) if engine.nodes else False


def _engine(settings: Settings, folders: Folders, overrides: tuple[str, ...]) -> list[Service]:
    if isinstance(settings.engine, RayServeSettings):
        return _ray_serve(settings, settings.engine, folders, overrides)
    return [torchserve_service(settings, settings.engine, folders)]


def _ray_serve(
    settings: Settings, engine: RayServeSettings, folders: Folders, overrides: tuple[str, ...]
) -> list[Service]:
    """Return the manager, and a head unless a cluster is joined; the frontend, or Ray's proxy, listens in the head."""
    manager = Service(
        name=ray_serve.MANAGER,
        command=manager_command(overrides),
        ports=(
            Port(engine.management_port, "engine.management_port"),
            Port(engine.metrics_port, "engine.metrics_port"),
        ),
        # The port of the Management API, which answers only when the manager and the head can.
        ready_url=engine.management_url + api.PING,
        refusal=400,
        timeout_s=2 * engine.start_timeout_s,
        prepare=lambda: ray_serve.prepare(folders, engine),
        env=ray_serve.manager_environment(engine, folders),
        within=ray_serve.HEAD if engine.address is None else None,
    )
    if engine.address is not None:
        return [manager]
    head = Service(
        name=ray_serve.HEAD,
        command=head_command(engine, folders.temporary / "ray"),
        ports=(Port(engine.ray_port, "engine.ray_port"), Port(engine.inference_port, "engine.inference_port")),
        ready_url=None,
        timeout_s=engine.start_timeout_s,
        prepare=lambda: ray_serve.prepare(folders),
        env=ray_serve.environment(engine, folders) | torchserve.tracing_environment(settings.gateway.tracing),
    )
    return [head, manager]


def torchserve_service(settings: Settings, engine: TorchServeSettings, folders: Folders) -> Service:
    """Return TorchServe with its ports."""
    return Service(
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


def _store(store: StoreSettings, folders: Folders) -> list[Service]:
    """Return the server of the store, where the stack runs it."""
    match store:
        case NginxStoreSettings():
            return [_filebrowser(store, folders)]
        case S3StoreSettings() if store.local_folder is not None:
            return [_s3(store)]
        case _:
            return []


def _filebrowser(store: NginxStoreSettings, folders: Folders) -> Service:
    return Service(
        name="filebrowser",
        command=store_servers.nginx_command(_program("nginx", "/usr/sbin/nginx"), folders.filebrowser),
        ports=(Port(store.port, "store.port"),),
        ready_url=f"{store.url}/healthz",
        timeout_s=15,
        prepare=lambda: store_servers.prepare_file_browser(store, folders),
    )


def _s3(bucket: S3StoreSettings) -> Service:
    return Service(
        name="s3",
        command=store_servers.rclone_command(bucket),
        ports=(Port(bucket.port, "store.endpoint"),),
        ready_url=f"{bucket.endpoint}/{bucket.bucket}",
        refusal=403,
        timeout_s=15,
        prepare=lambda: store_servers.prepare_bucket(bucket),
        env=store_servers.rclone_environment(bucket),
    )


def _loop(name: str, room: str, command: str, overrides: tuple[str, ...], ports: tuple[Port, ...] = ()) -> Service:
    """Return a service that runs in a loop until the stack stops: the keeper, the autoscaler."""
    return Service(
        name=name,
        command=(sys.executable, "-m", room, command, *overrides),
        ports=ports,
        ready_url=None,
        timeout_s=15,
    )


def _gateway_ports(gateway: GatewaySettings) -> tuple[Port, ...]:
    main = Port(gateway.port, "gateway.port")
    return (main,) if gateway.grpc_port is None else (main, Port(gateway.grpc_port, "gateway.grpc_port"))


def started_services(settings: Settings, overrides: tuple[str, ...] = ()) -> tuple[Service, ...]:
    """Return `services`, and the edge where one was started: `make edge` adds it to a stack, `make down` removes it."""
    there = (Folders.of(settings).edge / "nginx.conf").is_file()
    return (*services(settings, overrides), edge_service(settings)) if there else services(settings, overrides)


def edge_service(settings: Settings) -> Service:
    """Return the policy edge, whose configuration `python -m edge` wrote."""
    edge = settings.edge
    return Service(
        name="edge",
        command=store_servers.nginx_command(_program("nginx", "/usr/sbin/nginx"), Folders.of(settings).edge),
        ports=(Port(edge.port, "edge.port"),),
        ready_url=f"{edge.url}/healthz",
        timeout_s=15,
    )


def _program(name: str, fallback: str) -> str:
    """Return the path of an installed program; Debian keeps servers in /usr/sbin, which is not on every PATH."""
    found = shutil.which(name) or shutil.which(fallback)
    if found is None:
        raise StackError(f"{name} is not installed; `make setup` installs it, or run: apt-get install nginx-light")
    return found


def listeners() -> dict[int, int | None]:
    """Return each TCP port on which a process listens, with its pid; None where it is another user's process."""
    return {
        connection.laddr[1]: connection.pid
        for connection in psutil.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr
    }


def check_ports(service: Service) -> None:
    """Raise PortInUse, with the owner and the setting to change, when a port of the service is taken."""
    listening = listeners()
    for port in service.ports:
        if port.number in listening:
            raise PortInUse(_taken(service, port, listening[port.number]))


def _taken(service: Service, port: Port, pid: int | None) -> str:
    # Only root sees the pids of other users.
    owner = f"pid {pid} ({_program_name(pid)})" if pid else "a process of another user"
    return f"{service.name}: port {port.number} is taken by {owner}; set another port with {port.setting}=PORT"


def _program_name(pid: int) -> str:
    try:
        return str(psutil.Process(pid).name())
    except psutil.Error:
        return "just ended"
