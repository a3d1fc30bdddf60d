"""Serve as the Manager sees it: its applications, their workers, and the Front.

Everything here blocks and belongs to one thread at a time. Serve's own waiting looks once a second; a rollout has some
ten steps, so this one looks more often.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException
from ray.serve.schema import ApplicationStatus

from engines.ray import deployments
from engines.ray.counts import together
from engines.ray.fetch import Source
from engines.ray.front import Limits
from engines.ray.listener import Address
from engines.ray.refusals import Failed
from engines.ray.serve_config import FRONT, instance
from engines.ray.table import Entry, Table
from settings.schema import RayServe

log = logging.getLogger(__name__)

POLL_S = 0.05
FRONT_S = 120.0
REPORT_S = 10.0
LOOPBACK = {"127.0.0.1", "localhost"}


@dataclass(frozen=True)
class Replica:
    """A worker that takes requests: where it runs, and since when (seconds since 1970)."""

    replica_id: str
    pid: int
    node: str
    started: float
    ready: bool


class Cluster:
    """One Serve instance."""

    def __init__(self, settings: RayServe, source: Source, secret: bytes) -> None:
        self._settings = settings
        self._source = source
        self._secret = secret

    def start(self) -> Table:
        """Start Serve and the Front where they do not run yet; returns what is registered."""
        serve.start(**instance(self._settings))
        known = serve.status().applications.get(FRONT)
        table = Table()
        if known is not None and known.status == ApplicationStatus.RUNNING:
            table = Table.of_plain(self.report()["table"])
        self.publish(table)
        return table

    def publish(self, table: Table) -> None:
        """Give the Front this table; returns when it follows it, and has answered what it held for what is gone."""
        settings = self._settings
        straight = settings.proxies == "none"
        front = deployments.front(settings.fronts, on_head=straight).options(
            user_config={"secret": self._secret.hex(), "table": table.plain()}
        )
        longest_s = settings.response_timeout_s
        _keep(front)
        limits = Limits(settings.max_request_bytes, settings.job_queue_size, longest_s)
        address = Address(settings.host, settings.inference_port) if straight else None
        self._deploy(FRONT, front.bind(limits, address), "/")
        self._await(FRONT, FRONT_S + longest_s)

    def run(self, entry: Entry, timeout_s: float) -> None:
        """Have a version run with its workers; returns when all are ready.

        Raises Failed with the reason when they are not within `timeout_s`; what ran before is then back.
        """
        registration = entry.registration
        worker = deployments.worker(entry, self._settings.worker_cpus, self._settings.worker_gpus)
        _keep(worker)
        self._deploy(registration.application, worker.bind(registration, self._source), None)
        self._await(registration.application, timeout_s)

    def stop(self, entry: Entry) -> None:
        """End a version's workers, each after what it was given; unknown is fine."""
        name = entry.registration.application
        if name in serve.status().applications:
            serve.delete(name, _blocking=False)
            deadline = time.monotonic() + entry.registration.response_timeout_s + FRONT_S
            while name in serve.status().applications and time.monotonic() < deadline:
                time.sleep(POLL_S)

    def replicas(self, entry: Entry) -> list[Replica]:
        """The workers of a version that have been started."""
        details = _client().get_serve_details()["applications"].get(entry.registration.application)
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

    def describe(self, entry: Entry, timeout_s: float) -> Any:
        """What the handler tells about its model."""
        handle = serve.get_deployment_handle("Worker", entry.registration.application)
        return handle.describe.remote().result(timeout_s=timeout_s)

    def report(self) -> dict[str, Any]:
        """What the Fronts tell: their table, and what each version has inside and has counted.

        Raises Failed when none answers. One that takes over a new table is not to be asked for that moment.
        """
        deadline = time.monotonic() + REPORT_S
        while True:
            with contextlib.suppress(RayError, RayServeException, TimeoutError):
                if told := serve.get_app_handle(FRONT).broadcast("report").results(timeout_s=REPORT_S):
                    return {"table": told[0]["table"], "lines": together([each["lines"] for each in told])}
            if time.monotonic() >= deadline:
                raise Failed("no Front answers")
            time.sleep(POLL_S)

    def _deploy(self, name: str, application: Any, route: str | None) -> None:
        serve.run_many(
            [serve.RunTarget(application, name=name, route_prefix=route)],
            wait_for_ingress_deployment_creation=False,
            wait_for_applications_running=False,
        )

    def _await(self, name: str, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while True:
            found = serve.status().applications.get(name)
            if found is not None and found.status == ApplicationStatus.RUNNING:
                return
            if found is not None and found.status == ApplicationStatus.DEPLOY_FAILED:
                raise Failed(_reason(found))
            if time.monotonic() >= deadline:
                raise Failed(f"not ready within {timeout_s:g} s: {_reason(found) if found else 'no application'}")
            time.sleep(POLL_S)


def _reason(application: Any) -> str:
    """The last line of what Serve tells about a deployment that is not well."""
    messages = [each.message for each in application.deployments.values() if each.message] or [application.message]
    lines = [line.strip() for message in messages for line in (message or "").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no reason was given"


def _keep(deployment: Any) -> None:
    """Have replicas stay when only their number or the table changes.

    Serve gives each deployment from a program a version of its own, and starts everything anew for it; one that is set
    is kept, but no public parameter sets it. What a replica is made from is in its application's name.
    """
    deployment._version = "1"


def _client() -> Any:
    from ray.serve.context import _get_global_client

    return _get_global_client()


def connect(address: str, wait_s: float, ended: Callable[[], bool] = lambda: False) -> None:
    """Join the cluster at `address`, which may still be on its way up. Raises Failed when it is not there in time."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            host = address.rpartition(":")[0]
            own = {"_node_ip_address": host} if host in LOOPBACK else {}
            ray.init(address=address, namespace="serve", log_to_driver=False, logging_level=logging.WARNING, **own)
            return
        except (ConnectionError, RuntimeError, ValueError) as error:
            if ended() or time.monotonic() >= deadline:
                raise Failed(f"no Ray at {address}: {str(error).splitlines()[0]}") from None
            time.sleep(0.2)
