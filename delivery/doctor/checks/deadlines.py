"""Whether an engine host's clock agrees with ours, asked of its own workers."""

import time

from delivery.doctor.deployment import Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked

BEHIND_S, AHEAD_S = 2.0, 5.0  # half of the gateway's usual deadline, and the time that a busy worker may take
PASSED = 504


def judge(host: Host, *, offset_s: float = 0.0) -> Seen:
    """A deadline that is over must be refused, one to come must not; `offset_s` is added to our own clock."""
    found = next((version for version in host.versions if version.ready_workers), None)
    if found is None:
        return not_checked("no model with a worker that could be asked")

    def refused(left_s: float) -> bool:
        moment = int((time.time() + offset_s + left_s) * 1000)
        # No picture and no state: nothing is computed, whatever the clock says.
        return host.infer(found, b"\xff", {"X-Deadline-At": str(moment)}).status_code == PASSED

    if refused(AHEAD_S):
        return is_open(f"its clock is {AHEAD_S:g} s or more ahead of this machine's: deadlines end too early")
    if not refused(-BEHIND_S):
        return is_open(f"its clock is {BEHIND_S:g} s or more behind this machine's: deadlines are not kept")
    return closed(f"within {BEHIND_S:g} s of this machine's behind, {AHEAD_S:g} s ahead")
