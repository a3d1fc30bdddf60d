"""`python -m stack.setup`: what it does where nothing may be installed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from settings.load import ROOT


def setup(folder: Path, *packages: str) -> "subprocess.CompletedProcess[str]":
    """Run it with the programs of `folder` alone."""
    command = [sys.executable, "-m", "stack.setup", *packages]
    return subprocess.run(command, cwd=ROOT, env={"PATH": str(folder)}, capture_output=True, text=True, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    query = shutil.which("dpkg-query")
    assert query is not None
    (tmp_path / "dpkg-query").symlink_to(query)
    return tmp_path


def test_setup_package_is_there_does_nothing(folder: Path) -> None:
    done = setup(folder, "dpkg")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_setup_packages_missing_and_nobody_to_install_names_each_with_the_command(folder: Path) -> None:
    done = setup(folder, "dpkg", "no-such-package", "nor-this")
    assert done.returncode == 1
    words = "setup: missing: no-such-package, nor-this; install with: apt-get install no-such-package nor-this\n"
    assert done.stderr == words


def test_setup_on_another_system_says_so(tmp_path: Path) -> None:
    done = setup(tmp_path, "dpkg")
    assert done.returncode == 1
    assert done.stderr == "setup: dpkg is missing, and this is not Debian: install it as this system does\n"


def test_setup_of_the_edge_names_what_is_missing_in_one_command(folder: Path) -> None:
    command = [sys.executable, "-m", "stack.setup", "--edge"]
    env = {"PATH": str(folder), "MARINA_NGINX_SOURCES": str(folder / "missing")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    packages = "gcc, libc6-dev, nginx-dev"
    assert done.stderr == f"setup: missing: {packages}; install with: apt-get install {packages.replace(',', '')}\n"


def test_setup_edge_accepts_any_compiler_and_unpacked_headers(folder: Path) -> None:
    (folder / "cc").write_text("#!/bin/sh\nexit 0\n")
    (folder / "cc").chmod(0o755)
    header = folder / "sources" / "src" / "core" / "nginx.h"
    header.parent.mkdir(parents=True)
    header.touch()
    command = [sys.executable, "-m", "stack.setup", "--edge"]
    env = {"PATH": f"{folder}", "MARINA_NGINX_SOURCES": str(folder / "sources")}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
