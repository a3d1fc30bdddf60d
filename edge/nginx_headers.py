"""nginx's headers, configured as Debian configured its nginx: what a dynamic module is compiled with."""

import hashlib
import os
import re
import subprocess
from pathlib import Path

from errors import EdgeError
from files import staging_folder

PACKAGED = Path("/usr/share/nginx/src")
FOLDERS = ("src/core", "src/event", "src/event/modules", "src/event/quic", "src/os/unix", "objs", "src/http",
           "src/http/modules", "src/http/v2")  # fmt: skip
INSTALL = "install them with: apt-get install nginx-dev"


def include_flags(nginx: str, cache: Path) -> tuple[str, ...]:
    """`-I` of every folder that a module needs. Raises EdgeError saying what to install.

    The package brings the sources; which of their options this nginx has is found by their own `configure`, once.
    """
    sources = Path(os.environ.get("MARINA_NGINX_SOURCES", PACKAGED))
    header = sources / "src" / "core" / "nginx.h"
    if not header.is_file():
        raise EdgeError(f"nginx's headers are missing; {INSTALL}")
    version = re.search(r'NGINX_VERSION\s+"([\d.]+)"', header.read_text())
    running = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
    if version is None or f"nginx/{version[1]}" not in running:
        raise EdgeError(f"the headers in {sources} are not those of {running.strip()}; {INSTALL}")
    flags = sources / "conf_flags"
    mark = hashlib.sha256(f"{sources}\0{running}\0{flags.read_text()}".encode()).hexdigest()[:12]
    configured = cache / f"nginx-{mark}"
    if not (configured / "objs").is_dir():
        _configure(sources, configured)
    return tuple(f"-I{configured / folder if folder == 'objs' else sources / folder}" for folder in FOLDERS)


def _configure(sources: Path, target: Path) -> None:
    with staging_folder(target.parent, target.name) as work:
        tree = work / "tree"
        tree.mkdir()
        for name in ("auto", "configure", "src", "conf_flags"):
            (tree / name).symlink_to(sources / name)
        script = '. ./conf_flags; ./configure "${NGX_CONF_FLAGS[@]}"'
        done = subprocess.run(["bash", "-c", script], cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            # Its checks name compiler options such as -Werror; what ends it stands behind "error:".
            said = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            reason = next(
                (line for line in reversed(said) if "error: " in line), said[-1] if said else "it said nothing"
            )
            raise EdgeError(f"nginx's sources do not configure: {reason}")
        (tree / "objs").rename(work / "objs")
        target.mkdir(exist_ok=True)
        (work / "objs").rename(target / "objs")
