"""Prepares docker/compose.yaml: `python -m stack.compose`. Existing files are kept.

It writes passwords and keys, each in a file that only its owner may read, the folders of the containers, and
docker/.env with the user of the containers. There is no default password. `ready` also checks that no other stack has
the same name; `own` checks this alone, so that a running stack can be stopped whatever state its files are in.
"""

import hashlib
import json
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

import commands
from errors import StackError
from files import explained, read_text, write_atomic, write_once
from settings.load import ROOT
from stack import compose_projects, docker_plugins

USAGE = """\
usage: python -m stack.compose [ready | own]

  create the secrets and folders that docker/compose.yaml needs; existing ones are kept
  ready   also check that this folder's stack, and no other one, has the name that Compose would use
  own     only check this, and that docker/.env is there
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
DATA = ("torchserve", "delivery", "delivery/live", "minio")
CLIENTS = {"client": "gateway_key", "prometheus": "prometheus_key", "delivery": "delivery_key"}
CONTAINER_USER = 10001  # for root, because no container may run as root
BRIDGE_MODE, ISOLATING = "MARINA_BRIDGE_MODE", 28
"""The variable of compose.yaml, and the first version of Docker that can keep the host's address off a network."""
MOUNTED = (
    "config",
    *(
        f"docker/{name}"
        for name in (
            *("config.properties", "log4j2.xml", "metrics.yaml", "nginx.conf", "filebrowser/index.html"),
            *(
                "front.conf",
                "front.sh",
                "alloy",
                "grafana/dashboards",
                "grafana/provisioning",
                "loki",
                "minio",
                "prometheus",
                "tempo",
            ),
        )
    ),
)
"""The configuration files and folders of the project that containers read. None holds a secret."""


def prepare(root: Path, user: int, group: int) -> list[str]:
    """Create missing files below `root`, the project's folder, and return the names of the new secrets.

    `user` and `group` are those of the containers, unless docker/.env names others. Raises StackError when existing
    keys do not match each other or a mounted file cannot be read, StoreError when a file cannot be written.
    """
    folder = root / "docker" / "secrets"
    places = [folder, folder / "gateway", *(root / "docker" / "data" / name for name in DATA)]
    # Docker would make a missing folder as root, and then nothing could write to it.
    places += [root / "model_mars", root / "config" / "local", root / ".marina" / "edge_image"]
    for place in places:
        with explained(place):
            place.mkdir(parents=True, exist_ok=True)
    for place in (folder, root / "docker" / "data"):
        _set_mode(place, 0o700)
    made = [name for name, size in SECRETS.items() if write_once(folder / name, secrets.token_hex(size))]
    found = {name: _read(folder / name) for name in SECRETS}
    pair = json.dumps({"access_key": found["s3_user"], "secret_key": found["s3_password"]})
    write_once(folder / "s3.json", pair)
    if _read(folder / "s3.json") != pair:
        raise StackError(f"{folder / 's3.json'} does not match s3_user and s3_password; remove it, or both of them")
    _api_keys(folder / "gateway" / "default.yaml", found)
    user, group = _container_user(root / "docker" / ".env", user, group)
    if os.getuid() == 0 and user != 0:
        written = [folder, root / "docker" / "data", root / "model_mars", root / ".marina" / "edge_image"]
        _hand_over(written, user, group)
    _make_readable(root, user, group)
    return made


def _container_user(path: Path, user: int, group: int) -> tuple[int, int]:
    """Return the user and group of the containers: those of docker/.env, which is written when it is missing."""
    write_once(path, f"MARINA_UID={user}\nMARINA_GID={group}\n")
    found = dict(line.partition("=")[::2] for line in (read_text(path) or "").splitlines())
    try:
        return int(found["MARINA_UID"]), int(found["MARINA_GID"])
    except (KeyError, ValueError):
        raise StackError(f"{path} needs MARINA_UID and MARINA_GID, both numbers: the user of all containers") from None


def isolate(path: Path) -> None:
    """Remove the host's address from the internal networks where Docker can; a value in docker/.env is kept."""
    found = read_text(path) or ""
    if BRIDGE_MODE not in found and compose_projects.engine_version() >= ISOLATING:
        write_atomic(path, f"{found.rstrip()}\n{BRIDGE_MODE}=isolated\n")


def _check_own(root: Path) -> None:
    """Raise StackError without docker/.env, and for a stack that is not that of `root`; write nothing."""
    path = root / "docker" / ".env"
    if not path.is_file():
        raise StackError(f"{path} is missing; run: make compose_secrets")
    compose_projects.check(root / "docker")


def _make_readable(root: Path, user: int, group: int) -> None:
    """Let the containers' user read the mounted configuration, which only its owner can read after umask 077.

    Only files that git knows are changed: a file that somebody added may be closed on purpose.
    """
    closed = [path for name in MOUNTED for path in _tree(root / name) if not _is_readable(path, user, group)]
    if not closed:
        return
    known = _tracked(root)
    for path in closed:
        try:
            if not path.is_dir() and path not in known:
                raise PermissionError
            path.chmod(path.stat().st_mode | (0o555 if path.is_dir() else 0o444))
        except OSError:
            words = f"cannot be read by user {user}, whom the containers run as; run: chmod -R a+rX {path}"
            raise StackError(f"{path} {words}") from None


def _tree(path: Path) -> Iterator[Path]:
    """Yield a mounted file, or a mounted folder with everything below it but the local settings."""
    if not path.exists() or path.name in ("local", "__pycache__"):
        return
    yield path
    if path.is_dir():
        try:
            inside = sorted(path.iterdir())
        except PermissionError:
            return  # the folder itself is reported
        for each in inside:
            yield from _tree(each)


def _is_readable(path: Path, user: int, group: int) -> bool:
    found = path.stat()
    shift = 6 if found.st_uid == user else 3 if found.st_gid == group else 0
    wanted = 0o5 if stat.S_ISDIR(found.st_mode) else 0o4
    return (found.st_mode >> shift) & wanted == wanted


def _tracked(root: Path) -> set[Path]:
    """Return the files below `root` that git tracks; none where git cannot tell, as in an unpacked release."""
    # The folder may belong to another user; git would then refuse to read it.
    command = ["git", "-c", "safe.directory=*", "-C", str(root), "ls-files", "-z"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return set()
    return {root / name for name in done.stdout.split("\0") if name}


def _set_mode(path: Path, mode: int) -> None:
    with explained(path):
        if stat.S_IMODE(path.stat().st_mode) != mode:
            path.chmod(mode)


def _api_keys(path: Path, found: dict[str, str]) -> None:
    """Write the gateway's settings in the container: hashes of its clients' keys; added keys stay."""
    hashes = {name: hashlib.sha256(found[secret].encode()).hexdigest() for name, secret in CLIENTS.items()}
    lines = "".join(f"      - {{name: {name}, sha256: {digest}, rate: null}}\n" for name, digest in hashes.items())
    write_once(path, f"# @package _global_\ngateway:\n  security:\n    api_keys:\n{lines}")
    try:
        known = {each["sha256"] for each in yaml.safe_load(_read(path))["gateway"]["security"]["api_keys"]}
    except (yaml.YAMLError, KeyError, TypeError):
        raise StackError(f"{path} lists no gateway.security.api_keys; remove it to have it created again") from None
    for name, digest in hashes.items():
        if digest not in known:
            raise StackError(f"{path} does not know the key in {CLIENTS[name]}; remove it to have it created again")


def _read(path: Path) -> str:
    text = (read_text(path) or "").strip()
    if not text:
        raise StackError(f"{path} is empty; remove it to have it created again")
    return text


def _hand_over(folders: list[Path], user: int, group: int) -> None:
    for folder in folders:
        for path in (folder, *folder.rglob("*")):
            with explained(path):
                found = path.lstat()
                if (found.st_uid, found.st_gid) != (user, group):
                    os.chown(path, user, group, follow_symlinks=False)


def main(arguments: Sequence[str]) -> int:
    """Prepare this project's folder for the current user, and return the exit status."""
    if list(arguments) not in ([], ["ready"], ["own"]):
        sys.stderr.write(USAGE)
        return 2
    if list(arguments) == ["own"]:
        _check_own(ROOT)
        return 0
    user, group = os.getuid(), os.getgid()
    made = prepare(ROOT, user or CONTAINER_USER, group or CONTAINER_USER)
    if made or not arguments:
        sys.stdout.write(f"made {', '.join(made)} in docker/secrets\n" if made else "docker/secrets is complete\n")
    if arguments:
        docker_plugins.check()
        isolate(ROOT / "docker" / ".env")
        compose_projects.check(ROOT / "docker")
    return 0


if __name__ == "__main__":
    sys.exit(commands.run(main, USAGE))
