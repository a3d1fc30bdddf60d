"""The keys of one host for who may block: read from its key file, renewed when they have expired, never shown."""

import time
from pathlib import Path

import requests

from engines.interface import Facts, Interface
from engines.torchserve import paths
from engines.torchserve.key_file import Keys, read_once
from errors import EngineError
from settings.load import ROOT
from settings.schema import Node

READ_TIMEOUT_S = 2.0


def read(path: Path, title: str) -> Keys:
    """The keys in a file; it is not replaced atomically, so a half-written one is read again.

    Raises EngineError when there is none or it stays unreadable.
    """
    deadline = time.monotonic() + READ_TIMEOUT_S
    while True:
        try:
            return read_once(path)
        except FileNotFoundError:
            raise EngineError(f"no {title} keys in {path}; is {title} running? `make up` starts it") from None
        except (OSError, ValueError, KeyError, TypeError):
            if time.monotonic() > deadline:
                raise EngineError(f"{path} is not a {title} key file") from None
            time.sleep(0.05)


def token(node: Node, interface: Interface, title: str) -> str:
    """What a host wants to see now: from its key file, or its one token for everything."""
    if node.key_file is None:
        return node.token or ""
    return read(ROOT / node.key_file, title).token(interface).value


def every(node: Node, title: str) -> set[str]:
    """All keys of a host, for whoever looks where they must not stand. Raises EngineError when there are none."""
    if node.key_file is None:
        return {node.token or ""}
    found = read(ROOT / node.key_file, title)
    return {found.management.value, found.inference.value, found.api}


def renewed(node: Node, interface: Interface, facts: Facts) -> str:
    """The token after the engine has replaced an expired one; as it stands now where keys are not renewed."""
    if node.key_file is None or not facts.renews_keys:
        return token(node, interface, facts.title)
    path = ROOT / node.key_file
    headers = {"Authorization": f"Bearer {read(path, facts.title).api}"}
    where = f"{facts.title} at {node.management_url}"
    try:
        answer = requests.get(node.management_url + paths.renewal(interface), headers=headers, timeout=10)
    except requests.RequestException as error:
        raise EngineError(f"{where} does not renew keys: {type(error).__name__}") from None
    if not answer.ok:
        raise EngineError(f"{where} does not accept the keys in {path}")
    return token(node, interface, facts.title)
