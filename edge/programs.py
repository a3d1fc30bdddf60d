"""Programs that the edge needs and setup does not install for everybody."""

import shutil

from errors import EdgeError


def nginx_program() -> str:
    """Path of nginx; Debian keeps servers in /usr/sbin, which is not on every PATH."""
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if found is None:
        raise EdgeError("nginx is not installed; `make setup` installs it, or run: apt-get install nginx-light")
    return found
