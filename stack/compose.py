"""Prepares docker/compose.yaml: `python -m stack.compose`. Existing files are kept.

It writes passwords and keys, each in a file that only its owner may read, the folders of the containers, and
docker/.env with the user of the containers. There is no default password.
"""

import hashlib
import json
import os
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

import commands
from errors import StackError
from files import write_once
from settings.load import ROOT

USAGE = """\
usage: python -m stack.compose

  create the secrets and folders that docker/compose.yaml needs; existing ones are kept
"""

# Random bytes of each, in hex: MinIO takes users of 20 characters and passwords of 40.
SECRETS = {
    "grafana_password": 20,
    "gateway_key": 32,
    "prometheus_key": 32,
    "delivery_key": 32,
    "s3_root_user": 10,
    "s3_root_password": 20,
    "s3_user": 10,
    "s3_password": 20,
}
DATA = ("torchserve", "torchserve/model_store", "delivery", "minio", "prometheus", "grafana", "loki", "tempo")
CLIENTS = {"client": "gateway_key", "prometheus": "prometheus_key", "delivery": "delivery_key"}
CONTAINER_USER = 10001  # for root, because no container may run as root


def prepare(root: Path, user: int, group: int) -> list[str]:
    """Create missing files below `root`, the project's folder, and return the names of the new secrets.

    Raises StackError when existing keys do not match each other.
    """
    folder = root / "docker" / "secrets"
    places = [folder, folder / "gateway", *(root / "docker" / "data" / name for name in DATA)]
    # Docker would make a missing folder as root, and then nothing could write to it.
    places += [root / "model_mars", root / "config" / "local", root / ".marina" / "edge_image"]
    for place in places:
        place.mkdir(parents=True, exist_ok=True)
    for place in (folder, root / "docker" / "data"):
        place.chmod(0o700)
    made = [name for name, size in SECRETS.items() if write_once(folder / name, secrets.token_hex(size))]
    found = {name: _read(folder / name) for name in SECRETS}
    pair = json.dumps({"access_key": found["s3_user"], "secret_key": found["s3_password"]})
    write_once(folder / "s3.json", pair)
    if _read(folder / "s3.json") != pair:
        raise StackError(f"{folder / 's3.json'} does not match s3_user and s3_password; remove it, or both of them")
    _api_keys(folder / "gateway" / "default.yaml", found)
    write_once(root / "docker" / ".env", f"MARINA_UID={user}\nMARINA_GID={group}\n")
    if os.getuid() == 0 and user != 0:
        written = [folder, root / "docker" / "data", root / "model_mars", root / ".marina" / "edge_image"]
        _hand_over(written, user, group)
    return made


def _api_keys(path: Path, found: dict[str, str]) -> None:
    """Write the gateway's settings in the container: hashes of its clients' keys; added keys stay."""
    hashes = {name: hashlib.sha256(found[secret].encode()).hexdigest() for name, secret in CLIENTS.items()}
    lines = "".join(f"      - {{name: {name}, sha256: {digest}, rate: null}}\n" for name, digest in hashes.items())
    write_once(path, f"# @package _global_\ngateway:\n  security:\n    api_keys:\n{lines}")
    try:
        known = {each["sha256"] for each in yaml.safe_load(path.read_text())["gateway"]["security"]["api_keys"]}
    except (yaml.YAMLError, KeyError, TypeError):
        raise StackError(f"{path} lists no gateway.security.api_keys; remove it to have it created again") from None
    for name, digest in hashes.items():
        if digest not in known:
            raise StackError(f"{path} does not know the key in {CLIENTS[name]}; remove it to have it created again")


def _read(path: Path) -> str:
    text = path.read_text().strip()
    if not text:
        raise StackError(f"{path} is empty; remove it to have it created again")
    return text


def _hand_over(folders: list[Path], user: int, group: int) -> None:
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, user, group, follow_symlinks=False)


def main(arguments: Sequence[str]) -> int:
    """Prepare this project's folder for the current user, and return the exit status."""
    if arguments:
        sys.stderr.write(USAGE)
        return 2
    user, group = os.getuid(), os.getgid()
    made = prepare(ROOT, user or CONTAINER_USER, group or CONTAINER_USER)
    sys.stdout.write(f"made {', '.join(made)} in docker/secrets\n" if made else "docker/secrets is complete\n")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
