"""The file browser as a part of the local stack: docker/nginx.conf with this machine's address and folders."""

import os
import re
from pathlib import Path

from delivery.stores import store_keys
from settings.load import ROOT
from settings.schema import NginxStoreSettings
from stack.folders import Folders

TEMPLATE = ROOT / "docker" / "nginx.conf"
PAGE = ROOT / "docker" / "filebrowser"


def command(nginx: str, folders: Folders) -> tuple[str, ...]:
    """Nginx in the foreground over the rendered configuration."""
    return over(nginx, folders.filebrowser)


def over(nginx: str, folder: Path) -> tuple[str, ...]:
    """Nginx in the foreground over `folder/nginx.conf`."""
    # Started by root, nginx would hand its workers to `nobody`, who may not read a folder below somebody's home.
    user = ("-g", "user root;") if os.getuid() == 0 else ()
    return (nginx, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf"), *user)


def prepare(store: NginxStoreSettings, folders: Folders) -> None:
    """Render nginx.conf and make the folders it names."""
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
    _lay_out_key(store, folders.filebrowser / "put_key.map")
    (folders.filebrowser / "nginx.conf").write_text(render(TEMPLATE.read_text(), values))


def _lay_out_key(store: NginxStoreSettings, target: Path) -> None:
    """The key for uploads as nginx reads it, in a file that only its owner may read; nginx's master is the owner."""
    target.unlink(missing_ok=True)
    if store.put_key_file is None:
        return
    key = store_keys.make_upload_key(Path(store.put_key_file))
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(f'"Bearer {key}" yes;\n')


def render(template: str, values: dict[str, str]) -> str:
    """Replace `${NAME}` for the given names only, as envsubst does in the container; nginx's own variables stay."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
