"""What is open on a running deployment: each known hole of the archived engine, asked of the thing itself.

    deployment ─▶ checks (one small function a hole, by part) ─▶ findings ─▶ table or JSON

A check asks and changes nothing. One more is a function and its line in the `CHECKS` of a file in `checks/`.
"""

from delivery.doctor.deployment import Deployment
from delivery.doctor.examination import examine_all
from delivery.doctor.finding import Finding, State
from delivery.doctor.sockets import Sockets

__all__ = ["Deployment", "Finding", "Sockets", "State", "examine_all"]
