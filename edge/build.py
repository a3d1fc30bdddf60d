"""An archive to something that nginx can serve, and that has passed the parity gate."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from archive import Archive, open_archive
from edge import parity
from edge.asking import ask, ask_handler
from edge.c_source import policy_header
from edge.compiler import find_compiler
from edge.network import Policy, read_policy
from edge.programs import nginx_program
from errors import EdgeError
from settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Built:
    """A policy as a module of nginx, and the archive that it was made of."""

    model: str
    version: str
    archive: Archive
    module: Path


def build(path: Path, settings: Settings) -> Built:
    """Generate, compile, and compare with the handler. Raises EdgeError with the reason why it may not serve."""
    archive = open_archive(path)
    policy = read_policy(path)
    _check_business(policy.model)
    cache = Path(settings.paths.state) / "edge_cache"
    compiler = find_compiler(settings.edge.compiler, cache)
    if compiler is None:
        raise EdgeError("no C compiler; install one with: apt-get install gcc libc6-dev")
    header = policy_header(policy)
    module = compiler.module(header, nginx_program())
    compare(partial(ask, (str(compiler.harness(header)),)), policy, archive, settings)
    return Built(policy.model, policy.version, archive, module)


def compare(program: parity.Program, policy: Policy, archive: Archive, settings: Settings) -> None:
    """The gate."""
    log.info("compare %s %s with its handler", policy.model, policy.version)
    found = parity.check(program, partial(ask_handler, archive.path), policy, archive, settings.edge.parity_states)
    log.info("%s", found)


def _check_business(model: str) -> None:
    """What business.py does with a model's requests happens in the gateway; the edge would pass it over."""
    from business import BUSINESS

    if BUSINESS.before_for(model) or BUSINESS.after_for(model):
        raise EdgeError(f"{model} cannot be compiled: business.py has logic for it, which runs in the gateway alone")
