"""Has a running edge take a new configuration, and waits until all its workers are of it."""

import base64
import os
import signal
import time

import requests

import prometheus
from edge.build import Built
from edge.site import Site
from errors import EdgeError, FiguresError
from handlers.golden import misses
from settings import Settings

TIMEOUT_S = 20.0


def reload(built: Built, settings: Settings) -> None:
    """Write, reload, and ask until the new version answers. Raises EdgeError when it does not."""
    site = Site.of(settings)
    master = site.master()
    if master is None:
        raise EdgeError("no edge runs; `make edge` starts one")
    if site.write(built, settings):
        os.kill(master, signal.SIGHUP)
    deadline = time.monotonic() + TIMEOUT_S
    while (found := _answering(settings)) != built.version:
        if time.monotonic() > deadline:
            late = f"the edge does not answer with {built.version} {TIMEOUT_S:g} s after its reload"
            raise EdgeError(f"{late}, but with {found}")
        time.sleep(0.05)
    ask_golden(built, settings)


def _answering(settings: Settings) -> str:
    """The version that a new connection gets, or in words why that is not known yet.

    Raises EdgeError when it never will be.
    """
    try:
        # A connection of its own each time: one that is kept would stay with an old worker.
        found = prometheus.read(f"{settings.edge.url}/metrics").gauges
    except FiguresError as error:
        if not error.passing:
            raise EdgeError(str(error)) from None
        return str(error)
    return next((labels["version"] for labels, _ in prometheus.samples(found, "marina_edge_info")), "no version")


def ask_golden(built: Built, settings: Settings) -> None:
    """The golden answers once more, through nginx. Raises EdgeError for the first that differs."""
    for number, sample in enumerate(built.archive.golden["samples"], start=1):
        answer = requests.post(
            f"{settings.edge.url}/models/{built.model}/predict",
            data=base64.b64decode(sample["body"]),
            headers={"Content-Type": sample["content_type"], "Connection": "close"},
            timeout=10,
        )
        if answer.status_code != 200:
            raise EdgeError(f"golden input {number} got {answer.status_code}: {answer.text[:200]}")
        if (found := misses(sample["predictions"], answer.content, built.archive.golden["tolerance"])) is not None:
            raise EdgeError(f"golden input {number} is answered differently: {found}")
