"""The compiler, whose results all tests of a run share, and policies as programs."""

from collections.abc import Callable
from functools import partial

import pytest

from edge.c_source import policy_header
from edge.compiler import Compiler, find_compiler
from edge.edge_policy import EdgePolicy
from edge.verify import Program, ask
from errors import EdgeError

Make = Callable[[EdgePolicy], Program]


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    try:
        return find_compiler("auto", tmp_path_factory.mktemp("compiled"))
    except EdgeError as error:
        pytest.skip(str(error))


@pytest.fixture
def make(compiler: Compiler) -> Make:
    """Compiles a policy to a program."""
    return lambda policy: partial(ask, (str(compiler.harness(policy_header(policy))),))
