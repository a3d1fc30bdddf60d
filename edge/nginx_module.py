"""Builds a module of nginx that answers as the handler of its archive does."""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from archive import TrustedArchive, TrustPolicy, open_trusted
from edge.c_source import policy_header
from edge.compiler import Compiler, find_compiler, nginx_program
from edge.edge_policy import EdgePolicy, read_edge_policy
from edge.verify import ask, reference_replies, verify
from errors import EdgeError
from settings import Settings

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class VerifiedPolicy:
    """A policy whose C answers as its handler does."""

    policy: EdgePolicy
    archive: TrustedArchive
    header: str
    compiler: Compiler


@dataclass(frozen=True)
class NginxModule:
    """A module of nginx, and the archive of its policy."""

    model: str
    version: str
    archive: TrustedArchive
    path: Path


def build_module(file: Path, settings: Settings) -> NginxModule:
    """Compile the policy of an archive to a module, once its program answers as the handler does.

    Raises ArchiveError for an archive that is not trusted, EdgeError with the reason why it may not serve.
    """
    verified = verify_policy(file, settings)
    module = verified.compiler.module(verified.header, nginx_program())
    return NginxModule(verified.policy.model, verified.policy.version, verified.archive, module)


def verify_policy(file: Path, settings: Settings) -> VerifiedPolicy:
    """Write the policy of an archive as C, and compare it with the handler. Raises as `build_module` does."""
    archive = open_trusted(file, TrustPolicy.of(settings))
    policy = read_edge_policy(archive)
    _check_business_logic(policy.model)
    compiler = find_compiler(settings.edge.compiler, Path(settings.paths.state).absolute() / "edge_cache")
    header = policy_header(policy)
    program = partial(ask, (str(compiler.harness(header)),))
    log.info("compare %s %s with its handler", policy.model, policy.version)
    found = verify(program, partial(reference_replies, archive), policy, archive, settings.edge.parity_states)
    log.info("%s", found)
    return VerifiedPolicy(policy, archive, header, compiler)


def _check_business_logic(model: str) -> None:
    """Refuse a model whose requests business.py changes: only the gateway runs that, and the edge would skip it."""
    from business import BUSINESS

    if BUSINESS.before_for(model) or BUSINESS.after_for(model):
        raise EdgeError(f"{model} cannot be compiled: business.py has logic for it, which only the gateway runs")
