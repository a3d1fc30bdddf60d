"""Where nothing can be compiled the edge says so in one line and takes Lua; a program asked for by name it wants."""

import logging
import shutil
from pathlib import Path

import pytest

from edge.build import choose_compiler
from errors import EdgeError


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any program on its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_no_compiler_means_lua_and_is_said(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert choose_compiler("auto", bare) is None
    assert [record.getMessage() for record in caplog.records] == [
        "no C compiler: the policy runs in Lua; to compile it: apt-get install gcc libc6-dev nginx-dev"
    ]


def test_lua_can_be_asked_for_and_needs_no_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert choose_compiler("none", tmp_path) is None
    assert caplog.records == []


@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_missing_headers_mean_lua_and_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MARINA_NGINX_SOURCES", str(tmp_path))
    with caplog.at_level(logging.INFO):
        assert choose_compiler("auto", tmp_path) is None
    assert "the policy runs in Lua, because nginx's headers are missing" in caplog.text


def test_a_compiler_that_is_named_must_be_there(bare: Path) -> None:
    with pytest.raises(EdgeError, match=r"edge\.compiler=clang-99: there is no such program"):
        choose_compiler("clang-99", bare)
