"""A Serve instance as the manager's placement: the workers of each version, and the Frontends.

All methods block, and one thread at a time may call them.
"""

import contextlib
import logging
import time
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from engines.python.frontend import FrontendLimits, ListenAddress
from engines.python.frontend_metrics import merge_reports
from engines.python.manager import Replica
from engines.python.messages import InternalServerException
from engines.python.model_store import ArchiveSource
from engines.python.registry import FRONTEND, ModelRegistry, RegisteredVersion
from engines.ray import deployments
from engines.ray.recovery import find_leftovers, recorded_registry
from engines.ray.serve_config import instance_config
from settings.schema import RayServeSettings

log = logging.getLogger(__name__)

POLL_S = 0.05
FRONTEND_S = 120.0
REPORT_S = 10.0


class Cluster:
    """The placement on one Serve instance."""

    def __init__(self, settings: RayServeSettings, source: ArchiveSource, secret: bytes) -> None:
        self._settings = settings
        self._source = source
        self._secret = secret

    def start(self) -> ModelRegistry:
        """Start Serve and the Frontends where they do not run yet, and return what is registered.

        The remains of an interrupted change are undone. Raises InternalServerException where another Serve uses the
        cluster.
        """
        serve.start(**instance_config(self._settings))
        self._check_proxy()
        found = deployments.application_details()
        registry = recorded_registry(found)
        left = find_leftovers(found, registry)
        if left.unregistered:
            log.warning("left half-way, and ended: %s", ", ".join(left.unregistered))
            deployments.end_applications(left.unregistered)
        for entry in left.without_workers:
            log.warning("%s gets its workers", entry.registration.application)
            self._deploy(entry)
        self.publish(registry)
        return registry

    def _check_proxy(self) -> None:
        """Check that the cluster's one Serve listens at the configured address, which its first start fixed."""
        there, here = deployments.proxy_address(), (self._settings.host, self._settings.inference_port)
        if self._settings.proxies in ("head", "every") and there != here:
            found = f"engine.host={there[0]} engine.inference_port={there[1]}"
            message = f"Serve runs in this cluster already, with {found}; it cannot listen on {here[0]}:{here[1]}"
            raise InternalServerException(message)

    def publish(self, registry: ModelRegistry) -> None:
        """Give the Frontends this registry; return when they follow it and have drained the removed versions."""
        settings = self._settings
        direct = settings.proxies == "none"
        frontend = deployments.frontend_deployment(settings.fronts, on_head=direct).options(
            user_config={"secret": self._secret.hex(), "table": registry.as_json()}
        )
        drain_s = settings.response_timeout_s
        limits = FrontendLimits.each(settings.fronts, settings.max_request_bytes, settings.job_queue_size, drain_s)
        address = ListenAddress(settings.host, settings.inference_port) if direct else None
        deployments.deploy(FRONTEND, deployments.keeping_replicas(frontend).bind(limits, address), "/")
        deployments.wait_until_running(FRONTEND, FRONTEND_S + drain_s)

    def run(self, entry: RegisteredVersion, timeout_s: float) -> None:
        """Run a version with its workers; return when all are ready.

        Raises InternalServerException with the reason when they are not ready within `timeout_s`.
        """
        deployments.wait_until_ended([entry.registration.application], timeout_s)
        self._deploy(entry)
        deployments.wait_until_running(entry.registration.application, timeout_s)

    def _deploy(self, entry: RegisteredVersion) -> None:
        registration, settings = entry.registration, self._settings
        worker = deployments.worker_deployment(entry, settings.worker_cpus, settings.worker_gpus)
        application = deployments.keeping_replicas(worker).bind(registration, self._source)
        deployments.deploy(registration.application, application)

    def stop(self, entry: RegisteredVersion) -> None:
        """End a version's workers, each after its last request; an unknown version is ignored."""
        deployments.end_applications([entry.registration.application])
        longest_s = entry.registration.response_timeout_s + deployments.END_S
        deployments.wait_until_ended([entry.registration.application], longest_s)

    def replicas(self, entry: RegisteredVersion) -> list[Replica]:
        """Return the workers of a version that have been started."""
        details = deployments.application_details().get(entry.registration.application)
        deployment = (details or {}).get("deployments", {}).get("Worker", {})
        return [
            Replica(
                str(each["replica_id"]),
                int(each.get("pid") or 0),
                str(each.get("node_id") or ""),
                float(each.get("start_time_s") or 0),
                str(getattr(each["state"], "value", each["state"])) == "RUNNING",
            )
            for each in deployment.get("replicas", [])
        ]

    def describe(self, entry: RegisteredVersion, timeout_s: float) -> Any:
        """Return the handler's description of its model. Raises InternalServerException when no worker answers."""
        try:
            handle = serve.get_deployment_handle("Worker", entry.registration.application)
            return handle.describe.remote().result(timeout_s=timeout_s)
        except (RayError, RayServeException, TimeoutError) as error:
            message = f"no worker described the model: {type(error).__name__}"
            raise InternalServerException(message) from None

    def report(self) -> dict[str, Any]:
        """Return the Frontends' registry, as `table`, and their merged counts, as `lines`.

        Raises InternalServerException when no Frontend answers. A Frontend does not answer while it takes over a new
        registry.
        """
        deadline = time.monotonic() + REPORT_S
        while True:
            with contextlib.suppress(RayError, RayServeException, TimeoutError):
                if found := serve.get_app_handle(FRONTEND).broadcast("report").results(timeout_s=REPORT_S):
                    return {"table": found[0]["table"], "lines": merge_reports(each["lines"] for each in found)}
            if time.monotonic() >= deadline:
                raise InternalServerException("no Frontend answers")
            time.sleep(POLL_S)
