"""Has a running edge take a new configuration, and waits until all its workers are of it."""

import base64
import json
import os
import signal
import time

import requests

from edge.build import Built
from edge.site import Site
from errors import EdgeError
from handlers.golden import outside
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
    while served_version(settings) != built.version:
        if time.monotonic() > deadline:
            raise EdgeError(f"the edge does not answer with {built.version} {TIMEOUT_S:g} s after its reload")
        time.sleep(0.05)
    ask_golden(built, settings)


def served_version(settings: Settings) -> str | None:
    """The version that a new connection gets; None without an edge."""
    try:
        # A connection of its own each time: one that is kept would stay with an old worker.
        text = requests.get(f"{settings.edge.url}/metrics", timeout=5, headers={"Connection": "close"}).text
    except requests.RequestException:
        return None
    line = next((line for line in text.splitlines() if line.startswith("marina_edge_info{")), "")
    return line.partition('version="')[2].partition('"')[0] or None


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
        found = outside(
            sample["predictions"], json.loads(answer.content)["predictions"], built.archive.golden["tolerance"]
        )
        if found is not None:
            raise EdgeError(f"golden input {number} is answered differently: {found}")
