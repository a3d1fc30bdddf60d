"""Serve as the Manager sees it: the workers of each version, and the Front.

Everything here blocks and belongs to one thread at a time.
"""

import contextlib
import logging
import time
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from engines.ray import applications, deployments
from engines.ray.counts import together
from engines.ray.fetch import Source
from engines.ray.front import Limits
from engines.ray.listener import Address
from engines.ray.recovered import amiss, registered
from engines.ray.refusals import Failed
from engines.ray.serve_config import instance
from engines.ray.table import FRONT, Entry, Table
from settings.schema import RayServeSettings

log = logging.getLogger(__name__)

POLL_S = 0.05
FRONT_S = 120.0
REPORT_S = 10.0


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

    def __init__(self, settings: RayServeSettings, source: Source, secret: bytes) -> None:
        self._settings = settings
        self._source = source
        self._secret = secret

    def start(self) -> Table:
        """Start Serve and the Front where they do not run yet; returns what is registered.

        What a change that was interrupted left half is undone. Raises Failed where another Serve is in the way.
        """
        serve.start(**instance(self._settings))
        self._check_place()
        found = applications.details()
        table = registered(found)
        left = amiss(found, table)
        if left.strangers:
            log.warning("left half-way, and ended: %s", ", ".join(left.strangers))
            applications.end(left.strangers)
        for entry in left.entries:
            log.warning("%s gets its workers", entry.registration.application)
            self._start(entry)
        self.publish(table)
        return table

    def _check_place(self) -> None:
        """Serve is one for a cluster, and its proxies listen where they were told when it was first started."""
        there, here = applications.door(), (self._settings.host, self._settings.inference_port)
        if self._settings.proxies in ("head", "every") and there != here:
            words = f"engine.host={there[0]} engine.inference_port={there[1]}"
            raise Failed(f"Serve runs in this cluster already, with {words}; it cannot listen on {here[0]}:{here[1]}")

    def publish(self, table: Table) -> None:
        """Give the Front this table; returns when it follows it, and has answered what it held for what is gone."""
        settings = self._settings
        straight = settings.proxies == "none"
        front = deployments.front(settings.fronts, on_head=straight).options(
            user_config={"secret": self._secret.hex(), "table": table.plain()}
        )
        longest_s = settings.response_timeout_s
        limits = Limits.each(settings.fronts, settings.max_request_bytes, settings.job_queue_size, longest_s)
        address = Address(settings.host, settings.inference_port) if straight else None
        applications.deploy(FRONT, applications.kept(front).bind(limits, address), "/")
        applications.wait_until_running(FRONT, FRONT_S + longest_s)

    def run(self, entry: Entry, timeout_s: float) -> None:
        """Have a version run with its workers; returns when all are ready.

        Raises Failed with the reason when they are not within `timeout_s`; what ran before is then back.
        """
        applications.wait_until_gone([entry.registration.application], timeout_s)
        self._start(entry)
        applications.wait_until_running(entry.registration.application, timeout_s)

    def _start(self, entry: Entry) -> None:
        registration = entry.registration
        worker = deployments.worker(entry, self._settings.worker_cpus, self._settings.worker_gpus)
        applications.deploy(registration.application, applications.kept(worker).bind(registration, self._source))

    def stop(self, entry: Entry) -> None:
        """End a version's workers, each after what it was given; unknown is fine."""
        applications.end([entry.registration.application])
        longest_s = entry.registration.response_timeout_s + applications.END_S
        applications.wait_until_gone([entry.registration.application], longest_s)

    def replicas(self, entry: Entry) -> list[Replica]:
        """The workers of a version that have been started."""
        details = applications.details().get(entry.registration.application)
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
