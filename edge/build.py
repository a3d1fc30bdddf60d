"""An archive to something that nginx can serve, and that has passed the parity gate."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from archive import Trusted
from delivery.trust import open_trusted
from edge import conf_lines, lua_source, parity
from edge.asking import ask, ask_handler
from edge.c_source import policy_header
from edge.compiler import Compiler, find_compiler
from edge.network import Policy, read_policy
from edge.nginx_headers import include_flags
from edge.programs import nginx_program
from errors import EdgeError
from settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """A policy that nginx can serve, and the archive that it was made of.

    `path` is a module of nginx where it is compiled, the folder of its description where it runs in Lua.
    """

    model: str
    version: str
    archive: Trusted
    kind: Literal["compiled", "lua"]
    path: Path


def build(path: Path, settings: Settings) -> Built:
    """Generate, compile where there is a compiler, and compare with the handler.

    Raises ArchiveError for an archive that is not trusted, EdgeError with the reason why it may not serve.
    """
    archive = open_trusted(path, settings)
    policy = read_policy(archive)
    _check_business(policy.model)
    cache = Path(settings.paths.state) / "edge_cache"
    compiler = choose_compiler(settings.edge.compiler, cache)
    if compiler is None:
        conf_lines.lua_modules(nginx_program())
        made = lua_source.policy_folder(policy, cache)
        command = lua_source.harness(made)
    else:
        header = policy_header(policy)
        made = compiler.module(header, nginx_program())
        command = (str(compiler.harness(header)),)
    compare(partial(ask, command), policy, archive, settings)
    return Built(policy.model, policy.version, archive, "lua" if compiler is None else "compiled", made)


def choose_compiler(setting: str, cache: Path) -> Compiler | None:
    """None for Lua: because the setting says so, or `auto` finds no compiler or no headers, which it says."""
    if setting == "none":
        return None
    found = find_compiler(setting, cache)
    if found is None:
        log.info("no C compiler: the policy runs in Lua; to compile it: apt-get install gcc libc6-dev nginx-dev")
    elif setting == "auto":
        try:
            include_flags(nginx_program(), cache)
        except EdgeError as error:
            log.info("the policy runs in Lua, because %s", error)
            return None
    return found


def compare(program: parity.Program, policy: Policy, archive: Trusted, settings: Settings) -> None:
    """The gate."""
    log.info("compare %s %s with its handler", policy.model, policy.version)
    found = parity.check(program, partial(ask_handler, archive), policy, archive, settings.edge.parity_states)
    log.info("%s", found)


def _check_business(model: str) -> None:
    """What business.py does with a model's requests happens in the gateway; the edge would pass it over."""
    from business import BUSINESS

    if BUSINESS.before_for(model) or BUSINESS.after_for(model):
        raise EdgeError(f"{model} cannot be compiled: business.py has logic for it, which runs in the gateway alone")
