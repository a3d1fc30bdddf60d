"""Writes a registry as the configuration that `serve deploy` applies and a RayService of KubeRay contains.

It contains no secret, and the same registry and settings give the same text.
"""

from dataclasses import asdict
from typing import Any

import yaml

from engines.python.model_store import ArchiveSource
from engines.python.registry import FRONTEND, ModelRegistry, RegisteredVersion
from settings import Settings
from settings.load import ROOT
from settings.schema import RayServeSettings

BUILDERS = "engines.ray.declared"
PROXIES = {"none": "Disabled", "head": "HeadOnly", "every": "EveryNode"}
KEEP_ALIVE_S = 3600


def serve_config_text(registry: ModelRegistry, settings: Settings, engine: RayServeSettings) -> str:
    """Return the configuration as YAML."""
    return yaml.safe_dump(serve_config(registry, settings, engine), sort_keys=False, width=120)


def serve_config(registry: ModelRegistry, settings: Settings, engine: RayServeSettings) -> dict[str, Any]:
    """Return the configuration: Serve itself, the Frontends with this registry, and one application a version."""
    source = ArchiveSource.of(settings)
    workers = [_worker_application(entry, source, engine) for entry in registry.entries]
    return {**instance_config(engine), "applications": [_frontend_application(registry, engine), *workers]}


def instance_config(engine: RayServeSettings) -> dict[str, Any]:
    """Return the options of Serve itself, which its first start sets."""
    return {
        "proxy_location": PROXIES[engine.proxies],
        "http_options": {
            "host": engine.host,
            "port": engine.inference_port,
            "keep_alive_timeout_s": KEEP_ALIVE_S,
        },
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
    }


def _frontend_application(registry: ModelRegistry, engine: RayServeSettings) -> dict[str, Any]:
    direct = engine.proxies == "none"
    return {
        "name": FRONTEND,
        "route_prefix": "/",
        "import_path": f"{BUILDERS}:front",
        "args": {
            "address": {"host": engine.host, "port": engine.inference_port} if direct else None,
            "fronts": engine.fronts,
            "max_request_bytes": engine.max_request_bytes,
            "job_queue_size": engine.job_queue_size,
            "response_timeout_s": engine.response_timeout_s,
            "secret_file": str((ROOT / engine.key_file).with_name("secret")),
        },
        "deployments": [{"name": "Front", "user_config": {"table": registry.as_json()}}],
    }


def _worker_application(entry: RegisteredVersion, source: ArchiveSource, engine: RayServeSettings) -> dict[str, Any]:
    return {
        "name": entry.registration.application,
        "route_prefix": None,
        "import_path": f"{BUILDERS}:worker",
        "args": {
            "registration": asdict(entry.registration),
            "source": asdict(source),
            "cpus": engine.worker_cpus,
            "gpus": engine.worker_gpus,
        },
        # Not among the arguments, so that another number starts or stops workers and leaves the others alone.
        "deployments": [{"name": "Worker", "num_replicas": entry.max_workers}],
    }
