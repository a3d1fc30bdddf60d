"""How a Front and a version's workers are deployed, whoever tells Serve to: the Manager, or a declared application."""

from typing import Any

from ray import serve

from engines.ray.front import Front, InferenceApi
from engines.ray.line import AT_A_WORKER
from engines.ray.table import Entry
from engines.ray.worker import Worker

HEAD = {"node:__internal_head__": 0.001}
"""Ray's name for the head node as a resource: what stands there goes down with nothing but the whole cluster."""


def front(fronts: int, *, on_head: bool, kind: type[Front] = Front) -> Any:
    """The deployment that answers requests, which still wants its table as `user_config`; one alone is on the head."""
    return serve.deployment(serve.ingress(InferenceApi())(kind), name="Front").options(
        num_replicas=fronts,
        max_ongoing_requests=100_000,
        ray_actor_options={"num_cpus": 0, **({"resources": HEAD} if on_head or fronts == 1 else {})},
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=1,  # one that was lost is replaced after it
    )


def worker(entry: Entry, cpus: float, gpus: float) -> Any:
    """The deployment that runs a version; each worker has so many cores and GPUs set aside."""
    return serve.deployment(Worker, name="Worker").options(
        **_replicas(entry),
        max_ongoing_requests=AT_A_WORKER,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=entry.registration.response_timeout_s,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=2,
        health_check_timeout_s=30,
    )


def _replicas(entry: Entry) -> dict[str, Any]:
    """A fixed number, or one that Ray adapts to the batches that wait and run."""
    if entry.max_workers <= entry.min_workers:
        return {"num_replicas": entry.min_workers}
    return {
        "autoscaling_config": {
            "min_replicas": entry.min_workers,
            "initial_replicas": entry.min_workers,
            "max_replicas": entry.max_workers,
            "target_ongoing_requests": 1.2,
            "upscale_delay_s": 2.0,
            "downscale_delay_s": 30.0,
            "metrics_interval_s": 1.0,
            "look_back_period_s": 4.0,
        }
    }
