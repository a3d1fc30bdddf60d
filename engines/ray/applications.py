"""Serve's applications by name: deployed, waited for, looked at and ended.

Serve's own waiting looks once a second; a rollout has some ten steps, so this one looks more often.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from ray import serve
from ray.serve.schema import ApplicationStatus

from engines.ray.refusals import Failed

POLL_S = 0.05
END_S = 120.0


def details() -> Mapping[str, Any]:
    """What Serve tells of each; raises RayServeException where there is no Serve."""
    found: Mapping[str, Any] = _client().get_serve_details()["applications"]
    return found


def door() -> tuple[str, int]:
    """Host and port of Serve's proxies, as they were set when it was first started."""
    config = _client().http_config
    return str(config.host), int(config.port)


def deploy(name: str, application: Any, route: str | None = None) -> None:
    """Begin to run one, or to change it; its deployments keep their version, see `kept`."""
    serve.run_many(
        [serve.RunTarget(application, name=name, route_prefix=route)],
        wait_for_ingress_deployment_creation=False,
        wait_for_applications_running=False,
    )


def kept(deployment: Any) -> Any:
    """A deployment whose replicas stay when only their number or their table changes.

    Serve gives each deployment from a program a version of its own, and starts everything anew for it; one that is set
    is kept, but no public parameter sets it. What a replica is made from is in its application's name.
    """
    deployment._version = "1"
    return deployment


def wait_until_running(name: str, timeout_s: float) -> None:
    """Raises Failed with the reason when it does not run, or not in time."""
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


def end(names: Sequence[str]) -> None:
    """Begin to end applications, each after what it was asked; unknown ones are fine."""
    known = serve.status().applications
    for name in names:
        if name in known:
            serve.delete(name, _blocking=False)


def wait_until_gone(names: Sequence[str], timeout_s: float = END_S) -> bool:
    """Wait for what is on its way out, so that nothing of it is taken over; False when it takes longer."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = serve.status().applications
        if not any(name in found and found[name].status == ApplicationStatus.DELETING for name in names):
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_S)


def _reason(application: Any) -> str:
    """The last line of what Serve tells about a deployment that is not well."""
    messages = [each.message for each in application.deployments.values() if each.message] or [application.message]
    lines = [line.strip() for message in messages for line in (message or "").splitlines() if line.strip()]
    return lines[-1][:500] if lines else "no reason was given"


def _client() -> Any:
    from ray.serve.context import _get_global_client

    return _get_global_client()
