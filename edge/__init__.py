"""The policy edge: a policy compiled into nginx.

    archive ──network──▶ Policy ──c_source──▶ policy.h + native/*.h ──compiler──▶ module of nginx, and a harness
    harness beside the archive's own handler ──parity──▶ may serve ──site──▶ nginx.conf ──stack──▶ running
    delivery's rollout ──follow──▶ the same version here, by a reload of nginx

This package's own imports are light: a rollout asks `follow` without loading torch.
"""

from edge.follow import follow

__all__ = ["follow"]
