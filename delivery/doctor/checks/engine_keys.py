"""TorchServe's keys: who may read them, how long they last, how hard they are to guess."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from delivery.doctor.check import Check
from delivery.doctor.checks.files import others_read
from delivery.doctor.deployment import Host
from delivery.doctor.finding import Seen, closed, is_open, not_checked, warning
from delivery.doctor.sockets import place
from settings.load import ROOT

LONG = timedelta(days=1)
STRONG_BITS = 128
BITS_A_CHARACTER = 6  # the keys are URL-safe base64
NO_FILE = not_checked("a token in place of a key file")


def _readers(host: Host) -> Seen:
    if host.node.key_file is None:
        return NO_FILE
    return others_read(_path(host))


def _accepted(host: Host) -> Seen:
    if host.is_open:
        return not_checked("it asks for no key")
    return closed("accepted") if host.engine.answers() else is_open("refused, or not there: no rollout can work")


def _lifetime(host: Host) -> Seen:
    if host.node.key_file is None:
        return NO_FILE
    now = datetime.now(UTC)
    left = {kind: _expiry(host, kind) - now for kind in ("management", "inference")}
    longest = max(left.values())
    if longest > LONG:
        return warning(f"a key that leaks is good for {longest.days} days yet")
    return closed(", ".join(f"{kind}: {_span(span)}" for kind, span in left.items()))


def _strength(host: Host) -> Seen:
    bits = BITS_A_CHARACTER * min(len(each["key"]) for each in _content(host).values())
    if bits >= STRONG_BITS:
        return closed(f"{bits} bits")
    urls = (host.node.management_url, host.node.inference_url)
    if all(host.deployment.sockets.is_shut(*place(url)) for url in urls):
        return closed(f"{bits} bits only, and only this machine can guess")
    return warning(f"{bits} bits, and no limit to guessing: keep its ports on a private network")


def _path(host: Host) -> Path:
    return ROOT / (host.node.key_file or "")


def _content(host: Host) -> dict[str, Any]:
    if host.node.key_file is None:
        return {"token": {"key": host.node.token or ""}}
    content: dict[str, Any] = json.loads(_path(host).read_text())
    return content


def _expiry(host: Host, kind: str) -> datetime:
    return datetime.fromisoformat(_content(host)[kind]["expiration time"])


def _span(span: timedelta) -> str:
    minutes = int(span.total_seconds() // 60)
    return f"{minutes} min left" if minutes >= 0 else "expired, renewed at its next use"


CHECKS = (
    Check("key file that others read", "chmod 700 on the folder of engine.key_file", _readers),
    Check("keys that are not accepted", "make down && make up, if engine.key_file is an old copy", _accepted),
    Check("keys that last", "engine.token_expiration_min=60", _lifetime),
    Check("keys that can be guessed", "engine.host=127.0.0.1, or a private network", _strength),
)
