"""The machine of the doctor: free disk and memory, and keys that other users can read."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil

from delivery.doctor.check import Check, Result, closed, is_open, not_checked, warning
from delivery.doctor.deployment import Deployment
from delivery.doctor.probes import others_read
from delivery.stores import store_keys
from engines.profiles import TORCHSERVE
from engines.torchserve.auth import KeyRing
from errors import MarinaError
from settings.load import CONFIG
from settings.schema import NginxStoreSettings, S3StoreSettings, TorchServeSettings

LOCAL = CONFIG / "local" / "default.yaml"
FULL, FILLING = 0.02, 0.10  # of the disk that is free
LITTLE_MEMORY = 0.05


def _disk(deployment: Deployment) -> Result:
    settings = deployment.settings
    folders = {Path(settings.paths.state), Path(settings.paths.archives), Path(tempfile.gettempdir())}
    free = {folder: shutil.disk_usage(folder) for folder in sorted(folders) if folder.is_dir()}
    share, folder = min((usage.free / usage.total, folder) for folder, usage in free.items())
    words = f"{free[folder].free / 1e9:.1f} GB free under {folder} ({share:.0%})"
    return is_open(words) if share < FULL else warning(words) if share < FILLING else closed(words)


def _memory(_: Deployment) -> Result:
    found = psutil.virtual_memory()
    words = f"{found.available / 1e9:.1f} GB of {found.total / 1e9:.1f} available"
    return warning(words) if found.available < LITTLE_MEMORY * found.total else closed(words)


def _kill(deployment: Deployment) -> Result:
    engine = deployment.settings.engine
    here = deployment.sockets.is_here
    if not isinstance(engine, TorchServeSettings) or engine.nodes or not here(engine.host):
        return not_checked("no TorchServe is known to run on this machine")
    found = shutil.which("kill")
    return closed(found) if found else is_open("not installed: TorchServe cannot end a worker, so every swap fails")


def _process_list(deployment: Deployment) -> Result:
    secrets = set(filter(None, _secrets(deployment)))
    if not secrets:
        return not_checked("no key is known here")
    named = [
        f"{process.info['name']} (pid {process.pid})"
        for process in psutil.process_iter(["name", "cmdline"])
        if any(secret in word for word in process.info["cmdline"] or () for secret in secrets)
    ]
    return is_open(f"on the command line of {', '.join(named)}") if named else closed("no key on any command line")


def _secrets(deployment: Deployment) -> Iterator[str]:
    """Yield every key that this user can read; the keys are only compared."""
    for node in deployment.settings.engine.hosts:
        try:
            found = KeyRing(node, TORCHSERVE).every_key()
        except MarinaError:
            continue
        yield from found
    try:
        match deployment.settings.store:
            case NginxStoreSettings(put_key_file=str(path)):
                yield store_keys.read_upload_key(Path(path))
            case S3StoreSettings(credentials=path):
                yield store_keys.read_s3_credentials(Path(path)).secret_key
            case _:
                """Ignore a folder, which holds no key."""
    except MarinaError:
        """Ignore a missing key, which cannot be on a command line."""


def _local_settings(_: Deployment) -> Result:
    return others_read(LOCAL) if LOCAL.is_file() and "token" in LOCAL.read_text() else closed("it holds no token")


def _signing_key(deployment: Deployment) -> Result:
    path = deployment.settings.signing.key
    return others_read(Path(path)) if path else closed("none on this machine")


CHECKS = (
    Check("disk room", "more disk, or a lower rollout.keep_versions", _disk),
    Check("memory", "fewer workers, or more memory", _memory),
    Check("the program kill", "apt-get install procps", _kill),
    Check("keys on command lines", "a file or the environment in their place; then a new key", _process_list),
    Check("config/local/default.yaml, read by others", "chmod 600", _local_settings),
    Check("private signing key, read by others", "chmod 600 on signing.key", _signing_key),
)
