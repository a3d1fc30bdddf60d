"""What makes a policy answer: a compiler, whose results all tests of a run share, and the two builds of a policy."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from edge import luajit
from edge.asking import Answer, ask
from edge.c_source import policy_header
from edge.compiler import Compiler, find_compiler
from edge.lua_source import harness, policy_folder
from edge.network import Policy

# What takes seconds in nginx, and is the same program text as far as nginx goes: in Lua with `make test_slow`.
LONG = ("test_a_new_version_takes_over", "test_a_version_that_cannot_be_compiled", "test_a_slow_client")

Program = Callable[[list[tuple[int, bytes]]], list[Answer]]
Make = Callable[[Policy], Program]


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    found = find_compiler("auto", tmp_path_factory.mktemp("compiled"))
    if found is None:
        pytest.skip("no C compiler")
    return found


@pytest.fixture(scope="session")
def lua_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where policies in Lua lie."""
    if luajit.library() is None:
        pytest.skip("no LuaJIT")
    return tmp_path_factory.mktemp("lua")


@pytest.fixture(params=["compiled", "in Lua"])
def make(request: pytest.FixtureRequest) -> Make:
    """A policy as a program, once compiled and once in Lua."""
    if request.param == "compiled":
        compiler: Compiler = request.getfixturevalue("compiler")
        return lambda policy: partial(ask, (str(compiler.harness(policy_header(policy))),))
    folder: Path = request.getfixturevalue("lua_folder")
    return lambda policy: partial(ask, harness(policy_folder(policy, folder)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.name.startswith(LONG) and item.name.endswith("[in Lua]"):
            item.add_marker(pytest.mark.slow)
