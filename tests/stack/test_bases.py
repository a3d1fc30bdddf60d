"""Base images from Debian's packages: what is missing is one line, and apt's archive is used."""

import os
from pathlib import Path

import pytest

from errors import StackError
from stack import bases, debian


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An apt-get that lists the targets in a file, in a folder that has no other program."""
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\nwhile read -r line; do echo "$line"; done <{tmp_path}/targets\n')
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MIRROR", raising=False)
    return tmp_path


def test_archive_is_the_one_that_apt_uses(apt: Path) -> None:
    security = "Debian-Security\thttp://mirror.example/security/"
    (apt / "targets").write_text(f"Other\thttp://other.example/\nDebian\thttp://mirror.example/debian/\n{security}\n")
    lines = debian.archive().sources("bookworm").splitlines()
    assert lines == [
        "deb http://mirror.example/debian/ bookworm main",
        "deb http://mirror.example/debian/ bookworm-updates main",
        "deb http://mirror.example/security/ bookworm-security main",
    ]


def test_machine_without_debians_archive_is_told_to_name_one(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (apt / "targets").write_text("Ubuntu\thttp://other.example/\n")
    with pytest.raises(StackError, match="MIRROR="):
        debian.archive()
    monkeypatch.setenv("MIRROR", "http://mirror.example/debian")
    assert debian.archive().main == "http://mirror.example/debian"


def test_missing_debootstrap_and_root_are_one_line(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 0)
    with pytest.raises(StackError, match="apt-get install debootstrap"):
        bases.build({})
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    with pytest.raises(StackError, match="root"):
        bases.build({})
