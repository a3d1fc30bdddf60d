"""The lines of docker/edge.conf in which the compiled policy and the one in Lua differ."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from errors import EdgeError

INSTALL = "install it with: apt-get install libnginx-mod-http-lua"


def compiled(module: Path, max_body: int) -> dict[str, str]:
    """For a policy that is a module of nginx."""
    answer = f"edge {max_body};"
    return {
        "MARINA_EDGE_LOAD": f'load_module "{module}";',
        "MARINA_EDGE_SHARED": "",
        "MARINA_EDGE_ANSWER": answer,
        "MARINA_EDGE_REFUSED": answer,
    }


def scripted(modules: str, runtime: Path, policy: Path, max_body: int) -> dict[str, str]:
    """For a policy in Lua. `policy` is the file that names its folder; its content is no part of the configuration."""
    options = f'{{ policy = "{policy}", max_body = {max_body} }}'
    shared = (
        f'lua_package_path "{runtime}/?.lua;;";',
        "lua_shared_dict edge 1m;",
        "client_body_in_single_buffer on;",
        f'init_by_lua_block {{ edge = require "edge.lua.server"; edge.prepare {options} }}',
        "init_worker_by_lua_block { edge.watch() }",
    )
    return {
        "MARINA_EDGE_LOAD": modules,
        "MARINA_EDGE_SHARED": "\n    ".join(shared),
        "MARINA_EDGE_ANSWER": "content_by_lua_block { edge.answer() }",
        "MARINA_EDGE_REFUSED": "content_by_lua_block { edge.refused() }",
    }


def lua_modules(nginx: str) -> str:
    """What loads Lua into this nginx; nothing where it is built in. Raises EdgeError saying what to install."""
    said = subprocess.run([nginx, "-V"], capture_output=True, text=True, check=False).stderr
    if "openresty" in said:
        return ""
    folder = re.search(r"--modules-path=(\S+)", said)
    paths = [Path(folder[1]) / f"{name}_module.so" for name in ("ndk_http", "ngx_http_lua")] if folder else []
    if not paths or not all(path.is_file() for path in paths):
        raise EdgeError(f"nginx's Lua module is missing; {INSTALL}")
    return "\n".join(f'load_module "{path}";' for path in paths)


def render(template: str, values: Mapping[str, str]) -> str:
    """Replace `${NAME}` for the given names only; nginx's own variables stay."""
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)
