"""Versions under trial: settings, archives that go wrong once they have proven themselves, and what a trial leaves."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import engines
from archive import write_zip
from delivery.models_table import models_table
from delivery.stores import open_store
from delivery.trial import report_file
from deployments.traffic import TrafficFile
from settings import Settings
from tests.e2e.conftest import Stack
from tests.e2e.tampered import HANDLER, contents, summed
from tests.e2e.uploads import QUICK as ROLLOUT
from tests.e2e.uploads import registered

QUICK = (*ROLLOUT, "canary.min_requests=20", "shadow.min_compared=20")
# Two versions on a busy machine: how fast they are is judged only where a test is about that.
CANARY = (*QUICK, "canary.weight=0.3", "canary.minutes=0.05", "canary.max_latency_ratio=1000")
SHADOW = (*QUICK, "shadow.share=1", "shadow.minutes=0.05", "canary.max_latency_ratio=1000")

# Answers as it should until it has proven itself; what comes after the first eight batches is done otherwise.
LATER = b"""
answers, told = PolicyHandler.postprocess, []
def otherwise(self, forwarded):
    told.append(1)
    rows = answers(self, forwarded)
    if len(told) > 8:
        %s
    return rows
PolicyHandler.postprocess = otherwise
"""
LATER_THEN = {
    "fails": "raise RuntimeError('later')",
    "is slow": "import time; time.sleep(0.1)",
    "hangs": "import time; time.sleep(3600)",
    "dies": "import os; os._exit(3)",
    "disagrees": """rows = [r.replace('"action":0', '"action":2').replace('"action":1', '"action":0')
            .replace('"action":2', '"action":1') if isinstance(r, str) else
            r.replace(b'"action":0', b'"action":2').replace(b'"action":1', b'"action":0')
            .replace(b'"action":2', b'"action":1') for r in rows]""",
}


def broken_later(stack: Stack, folder: Path, how: str) -> tuple[str, ...]:
    """Overrides that roll out an archive which does something else after a while."""
    write_broken(stack.archives / "cartpole.mar", folder, how)
    return (f"paths.archives={folder}", f"store.folder={stack.archives}")


def write_broken(good: Path, folder: Path, how: str) -> None:
    """A copy of cartpole's archive that does something else after a while."""
    files = contents(good)
    folder.mkdir(exist_ok=True)
    write_zip(summed({**files, HANDLER: files[HANDLER] + LATER % LATER_THEN[how].encode()}), folder / "cartpole.mar")


def report(settings: Settings, version: str, model: str = "cartpole") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report_file(settings, model, version).read_text())
    return found


def assert_no_trace_is_left(settings: Settings, stack: Stack, kept: list[Path]) -> None:
    """One version with all its workers, no share, no journal, and no archive that was not there before."""
    assert TrafficFile.of(settings).all() == {}
    [only] = registered(settings)
    assert only.ready_workers == settings.served_model.request_params.initial_workers
    assert sorted(stack.archives.iterdir()) == kept
    left = {file.name for file in (stack.state / "rollouts").iterdir() if file.name.startswith((".", "cartpole"))}
    assert left == {"cartpole.lock"}


def during(ended: Callable[[], int | None], look: Callable[[], dict[str, str]]) -> dict[str, str]:
    """What `look` finds while a trial is under way."""
    deadline = time.monotonic() + 120
    while not (found := look()):
        assert ended() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def serving_column(settings: Settings) -> dict[str, str]:
    """What `make models` says of each version's share; empty while there is no trial."""
    if "cartpole" not in TrafficFile.of(settings).all():
        return {}
    with engines.connect(settings) as engine:
        printed = models_table([engine], open_store(settings), TrafficFile.of(settings), datetime.now(UTC))
    rows = [line.split() for line in printed.splitlines() if line.startswith("cartpole")]
    return {row[1]: row[2] for row in rows}
