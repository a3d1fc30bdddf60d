"""The profile of each engine that `engine=` can name: one row an engine."""

from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec

from engines.engine_profile import EngineProfile, MetricNames
from errors import ConfigError

TORCHSERVE = EngineProfile(
    title="TorchServe",
    part="torchserve",
    package="ts",
    requirements="requirements-engine.txt",
    worker_program="model_service_worker",
    metrics=MetricNames("ts_inference_requests", "ts_queue_latency_microseconds", "ts_inference_latency_microseconds"),
    change_s=30.0,
    renews_keys=True,
    keeps_failed_fetches=True,
    compares_archives=False,
)
RAY = replace(
    TORCHSERVE,
    title="Ray Serve",
    part="ray",
    package="ray",
    requirements="requirements-ray.txt",
    worker_program=":Worker",  # Ray names a worker's process after its application and its deployment
    change_s=180.0,  # the controller updates every node, and a removal waits for the last answer
    keeps_failed_fetches=False,
    compares_archives=True,
)
PROFILES: Mapping[str, EngineProfile] = {"torchserve": TORCHSERVE, "ray": RAY}


def profile_of(name: str) -> EngineProfile:
    """Return the profile of the engine with this name. Raises ConfigError for an unknown name."""
    found = PROFILES.get(name)
    if found is None:
        raise ConfigError(f"engine.name: no engine {name!r}; there are {', '.join(sorted(PROFILES))}")
    return found


def check_installed(profile: EngineProfile) -> None:
    """Raise ConfigError where the engine is to run on this machine and its package is missing."""
    if find_spec(profile.package) is None:
        how = f"pip install -r {profile.requirements}"
        raise ConfigError(f"{profile.title} needs the package {profile.package!r}, which is not installed: {how}")
