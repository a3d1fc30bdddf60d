"""A table as the configuration that Serve takes: what `serve deploy` applies, and a RayService of KubeRay holds.

Nothing secret stands in it, and the same table and settings give the same text.
"""

from dataclasses import asdict
from typing import Any

import yaml

from engines.ray.fetch import Source
from engines.ray.table import FRONT, Entry, Table
from settings import Settings
from settings.load import ROOT
from settings.schema import RayServeSettings

BUILDERS = "engines.ray.declared"
PROXIES = {"none": "Disabled", "head": "HeadOnly", "every": "EveryNode"}
KEEP_ALIVE_S = 3600


def text(table: Table, settings: Settings, engine: RayServeSettings) -> str:
    """The configuration as YAML."""
    return yaml.safe_dump(serve_config(table, settings, engine), sort_keys=False, width=120)


def serve_config(table: Table, settings: Settings, engine: RayServeSettings) -> dict[str, Any]:
    """The Front with this table, and one application for each version in it."""
    source = Source.of(settings)
    workers = [_worker(entry, source, engine) for entry in table.entries]
    return {**instance(engine), "applications": [_front(table, engine), *workers]}


def instance(engine: RayServeSettings) -> dict[str, Any]:
    """What is said of Serve itself, when it is started."""
    return {
        "proxy_location": PROXIES[engine.proxies],
        "http_options": {
            "host": engine.host,
            "port": engine.inference_port,
            "keep_alive_timeout_s": KEEP_ALIVE_S,
        },
        "logging_config": {"log_level": "WARNING", "enable_access_log": False},
    }


def _front(table: Table, engine: RayServeSettings) -> dict[str, Any]:
    straight = engine.proxies == "none"
    return {
        "name": FRONT,
        "route_prefix": "/",
        "import_path": f"{BUILDERS}:front",
        "args": {
            "address": {"host": engine.host, "port": engine.inference_port} if straight else None,
            "fronts": engine.fronts,
            "max_request_bytes": engine.max_request_bytes,
            "job_queue_size": engine.job_queue_size,
            "response_timeout_s": engine.response_timeout_s,
            "secret_file": str((ROOT / engine.key_file).with_name("secret")),
        },
        "deployments": [{"name": "Front", "user_config": {"table": table.plain()}}],
    }


def _worker(entry: Entry, source: Source, engine: RayServeSettings) -> dict[str, Any]:
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
        # Beside the arguments, so that another number starts or stops workers and leaves the others alone.
        "deployments": [{"name": "Worker", "num_replicas": entry.max_workers}],
    }
