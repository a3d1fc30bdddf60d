"""A compiler, whose results all tests of a run share."""

import pytest

from edge.compiler import Compiler, find_compiler


@pytest.fixture(scope="session")
def compiler(tmp_path_factory: pytest.TempPathFactory) -> Compiler:
    found = find_compiler("auto", tmp_path_factory.mktemp("compiled"))
    if found is None:
        pytest.skip("no C compiler")
    return found
