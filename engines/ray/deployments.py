"""Serve's deployments of a Frontend and of a version's workers, and the applications that contain them.

The Cluster deploys them, and so do the builders of a declared configuration.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray import serve
from ray.serve.schema import ApplicationStatus

from engines.python.frontend import Frontend, Receive, Send
from engines.python.frontend_metrics import Counts
from engines.python.messages import InternalServerException
from engines.python.model_store import ArchiveSource
from engines.python.registry import RegisteredVersion, Registration
from engines.python.version_queue import BATCHES_PER_WORKER, VersionQueue
from engines.python.worker import Worker
from engines.ray.batch_sender import BatchSender

HEAD = {"node:__internal_head__": 0.001}
"""Ray's resource name of the head node: a process there ends only with the whole cluster."""
POLL_S = 0.05  # Serve itself polls once a second, which would delay each of a rollout's ten steps
END_S = 120.0


class ServeFrontend(Frontend):
    """A Frontend as a replica of Serve, whose batches go to replicas of other applications."""

    def _open_queue(self, version: RegisteredVersion, queue_size: int) -> VersionQueue:
        registration, counts = version.registration, Counts()
        handle = serve.get_deployment_handle("Worker", registration.application, _check_exists=False)
        return VersionQueue(version, counts, BatchSender(registration, handle, counts).batching, queue_size)

    async def __del__(self) -> None:
        """Stop; Serve calls and awaits this before it ends a replica regularly."""
        await self.stop()


class InferenceApi:
    """The ASGI application of Serve's proxies; it passes requests to the Frontend of its process."""

    async def __call__(self, scope: Mapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one HTTP request; other connections get no answer."""
        if scope["type"] == "http":
            frontend: Frontend = serve.get_replica_context().servable_object
            await frontend.answer(scope, receive, send)


class ServeWorker(Worker):
    """A worker as a replica of Serve."""

    def __init__(self, registration: Registration, source: ArchiveSource) -> None:
        super().__init__(registration, source, 0 if ray.get_gpu_ids() else None)


def frontend_deployment(frontends: int, *, on_head: bool, kind: type[ServeFrontend] = ServeFrontend) -> Any:
    """Return the deployment of the Frontends, without their registry; a single one runs on the head node."""
    return serve.deployment(serve.ingress(InferenceApi())(kind), name="Front").options(
        num_replicas=frontends,
        max_ongoing_requests=100_000,
        ray_actor_options={"num_cpus": 0, **({"resources": HEAD} if on_head or frontends == 1 else {})},
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=1,  # a lost one is replaced after it
    )


def worker_deployment(entry: RegisteredVersion, cpus: float, gpus: float) -> Any:
    """Return the deployment of a version's workers, each with this many cores and GPUs."""
    return serve.deployment(ServeWorker, name="Worker").options(
        **_replicas(entry),
        max_ongoing_requests=BATCHES_PER_WORKER,
        ray_actor_options={"num_cpus": cpus, "num_gpus": gpus},
        graceful_shutdown_timeout_s=entry.registration.response_timeout_s,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=2,
        health_check_timeout_s=30,
    )


def _replicas(entry: RegisteredVersion) -> dict[str, Any]:
    """Return a fixed number of replicas, or one that Ray adapts to the batches that wait and run."""
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


def deploy(name: str, application: Any, route: str | None = None) -> None:
    """Begin to run an application, or to change it."""
    serve.run_many(
        [serve.RunTarget(application, name=name, route_prefix=route)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


def keeping_replicas(deployment: Any) -> Any:
    """Return a deployment whose replicas stay when only their number or their registry changes.

    Serve gives each deployment of a program a new version and restarts all replicas for it. A version that is
    set stays, but no public parameter sets it. The application's name identifies what a replica is made from.
    """
    deployment._version = "1"
    return deployment


def application_details() -> Mapping[str, Any]:
    """Return Serve's details of each application. Raises RayServeException where no Serve runs."""
    found: Mapping[str, Any] = _client().get_serve_details()["applications"]
    return found


def proxy_address() -> tuple[str, int]:
    """Return host and port of Serve's proxies, as set when Serve was first started."""
    config = _client().http_config
    return str(config.host), int(config.port)


def wait_until_running(name: str, timeout_s: float) -> None:
    """Wait for an application. Raises InternalServerException with the reason when it does not run in time."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = serve.status().applications.get(name)
        if found is not None and found.status == ApplicationStatus.RUNNING:
            return
        if found is not None and found.status == ApplicationStatus.DEPLOY_FAILED:
            raise InternalServerException(_reason(found))
        if time.monotonic() >= deadline:
            reason = _reason(found) if found else "no application"
            raise InternalServerException(f"not ready within {timeout_s:g} s: {reason}")
        time.sleep(POLL_S)


def end_applications(names: Sequence[str]) -> None:
    """Begin to end applications, each after its last request; unknown ones are ignored."""
    known = serve.status().applications
    for name in names:
        if name in known:
            serve.delete(name, _blocking=False)


def wait_until_ended(names: Sequence[str], timeout_s: float = END_S) -> bool:
    """Wait for applications that are ending, so that none of their replicas is reused; False when it takes longer."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = serve.status().applications
        if not any(name in found and found[name].status == ApplicationStatus.DELETING for name in names):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)


def _reason(application: Any) -> str:
    """Return the last line of Serve's messages about a deployment that is not well."""
    messages = [each.message for each in application.deployments.values() if each.message] or [application.message]
    lines = [line.strip() for message in messages for line in (message or "").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no reason was given"


def _client() -> Any:
    from ray.serve.context import _get_global_client

    return _get_global_client()
