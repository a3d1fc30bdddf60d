"""A missing compiler or missing headers, nginx's own `configure`, and the folder that the edge's image compiles."""

import shutil
from pathlib import Path

import pytest

from edge.compiler import Compiler, compile_folder, configure_headers, find_compiler, include_flags, main, nginx_program
from errors import ConfigError, EdgeError
from settings import load
from tests.edge import archives
from tests.edge.served import NGINX_DEV

ONE_COMMAND = "; install what the edge needs with: apt-get install gcc libc6-dev nginx-dev"
needs_nginx = pytest.mark.skipif(shutil.which("nginx") is None and not Path("/usr/sbin/nginx").exists(), reason="nginx")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any program on its PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_missing_compiler_names_the_one_command(bare: Path) -> None:
    with pytest.raises(EdgeError) as caught:
        find_compiler("auto", bare)
    assert str(caught.value) == f"no C compiler{ONE_COMMAND}"


def test_named_compiler_must_be_installed(bare: Path) -> None:
    with pytest.raises(EdgeError) as caught:
        find_compiler("clang-99", bare)
    assert str(caught.value) == f"edge.compiler=clang-99: there is no such program{ONE_COMMAND}"


def test_setting_that_chose_lua_is_refused_with_the_change_and_the_command() -> None:
    with pytest.raises(ConfigError) as caught:
        load(["edge.compiler=none"])
    message = str(caught.value)
    assert "edge.compiler: must be auto or a program, because the edge in Lua is gone" in message
    assert "apt-get install gcc libc6-dev nginx-dev" in message
    assert "\n" not in message


@needs_nginx
def test_missing_headers_name_the_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_NGINX_SOURCES", str(tmp_path))
    with pytest.raises(EdgeError) as caught:
        include_flags(nginx_program(), tmp_path)
    assert str(caught.value) == f"nginx's headers are missing{ONE_COMMAND}"


@needs_nginx
def test_headers_of_another_nginx_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src" / "core").mkdir(parents=True)
    (tmp_path / "src" / "core" / "nginx.h").write_text('#define NGINX_VERSION      "0.0.1"\n')
    monkeypatch.setenv("MARINA_NGINX_SOURCES", str(tmp_path))
    with pytest.raises(EdgeError, match=r"the headers in .* are not those of nginx version: nginx/"):
        include_flags(nginx_program(), tmp_path)


def sources(folder: Path, *lines: str) -> Path:
    """Write sources of nginx whose `configure` prints these lines and fails."""
    for name in ("auto", "src"):
        (folder / name).mkdir(parents=True)
    (folder / "conf_flags").write_text("NGX_CONF_FLAGS=()\n")
    script = folder / "configure"
    script.write_text("#!/bin/sh\ncat <<'END'\n" + "\n".join(lines) + "\nEND\nexit 1\n")
    script.chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (
            (
                "checking for gcc -pipe switch ... found",
                "checking for --with-cc-opt='-Werror=format-security' ... found",
                "./configure: error: the HTTP rewrite module requires the PCRE library.",
                "",
            ),
            "./configure: error: the HTTP rewrite module requires the PCRE library.",
        ),
        (("checking for OS", "no space left on device"), "no space left on device"),
        ((), "it printed nothing"),
    ],
)
def test_failed_configure_is_named_by_its_error_and_not_by_a_check(
    tmp_path: Path, lines: tuple[str, ...], reason: str
) -> None:
    with pytest.raises(EdgeError) as caught:
        configure_headers(sources(tmp_path / "sources", *lines), tmp_path / "configured")
    assert str(caught.value) == f"nginx's sources do not configure: {reason}"


def test_code_that_does_not_compile_is_named_by_the_compilers_error(compiler: Compiler) -> None:
    with pytest.raises(EdgeError, match=r"does not compile the policy: .*error: "):
        compiler.harness("#error no policy\n")


def test_folder_without_a_policy_names_the_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    printed = capsys.readouterr().err
    missing = tmp_path / "policy.h"
    assert printed.startswith(f"error: there is no {missing}; write it with: python -m edge export FOLDER")
    assert not (tmp_path / "module.conf").exists()


@NGINX_DEV
def test_folder_that_cannot_be_written_is_named_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], compiler: Compiler
) -> None:
    archives.export(tmp_path, "1.0")
    (tmp_path / ".module.conf.build").touch()
    assert main([str(tmp_path), str(compiler.headers)]) == 1
    printed = capsys.readouterr().err
    assert printed.startswith(f"error: {tmp_path}")
    assert printed.count("\n") == 1


@NGINX_DEV
def test_folder_holds_one_module_for_each_policy_and_names_the_last(tmp_path: Path, compiler: Compiler) -> None:
    names = []
    for version in ("1.0", "1.1", "1.1"):
        archives.export(tmp_path, version)
        module = compile_folder(tmp_path, compiler.headers)
        assert (tmp_path / "module.conf").read_text() == f'load_module "{module}";\n'
        assert list(tmp_path.glob("*.so")) == [module]
        names.append(module.name)
    assert names[0] != names[1] == names[2]


@NGINX_DEV
def test_module_that_nginx_does_not_load_is_not_named(
    tmp_path: Path, compiler: Compiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives.export(tmp_path, "1.0")
    broken = tmp_path / "broken.so"
    broken.write_bytes(b"no module")
    monkeypatch.setattr(Compiler, "module", lambda *_: broken)
    with pytest.raises(EdgeError, match="nginx does not load the edge: "):
        compile_folder(tmp_path, compiler.headers)
    assert not (tmp_path / "module.conf").exists()
