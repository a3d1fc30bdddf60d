"""`python -m stack.kubernetes` without a usable program or with wrong words: one line that says what to do."""

from pathlib import Path

import pytest

from errors import StackError
from settings.load import ROOT
from stack.kubernetes import render
from tests.docker.manifests import copied, program


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "copy").mkdir()
    return copied(tmp_path / "copy")


def stub(folder: Path, help_text: str) -> str:
    """A program with this help text that builds nothing."""
    path = folder / "kubectl"
    path.write_text(f"#!/bin/sh\necho '{help_text}'\n")
    path.chmod(0o755)
    return f"{path} kustomize"


def test_an_unknown_overlay_is_named_beside_those_that_exist(root: Path) -> None:
    with pytest.raises(StackError, match="no overlay 'cpu'; there are core, gpu, ray, rayservice, s3, upload"):
        render(root, "cpu")


def test_missing_secrets_name_the_command_that_creates_them(root: Path) -> None:
    (root / "docker" / "secrets" / "delivery_key").unlink()
    with pytest.raises(StackError, match="delivery_key is missing; `make compose_secrets` creates it"):
        render(root, "core")


def test_a_missing_program_is_named_with_the_variable(root: Path) -> None:
    with pytest.raises(StackError, match=r"^/nowhere/kubectl: No such file or directory; .* KUSTOMIZE="):
        render(root, "core", "/nowhere/kubectl kustomize")


def test_a_program_that_is_too_old_says_which_version_is_needed(root: Path, tmp_path: Path) -> None:
    with pytest.raises(StackError, match=r"does not know --load-restrictor: it needs kubectl 1\.21"):
        render(root, "core", stub(tmp_path, "kubectl kustomize <dir> [flags]"))


@pytest.mark.skipif(program() is None, reason="needs kubectl 1.21 or kustomize 4")
def test_what_kustomize_refuses_is_said_in_its_words(root: Path) -> None:
    (root / "docker" / "kubernetes" / "base" / "gateway.yaml").write_text("kind: [\n")
    command = program()
    assert command is not None
    with pytest.raises(StackError, match=r"gateway\.yaml"):
        render(root, "core", command)
    assert (ROOT / "docker" / "kubernetes" / "base" / "gateway.yaml").read_text() != "kind: [\n"


def test_several_lines_of_a_failing_program_become_one(root: Path, tmp_path: Path) -> None:
    failing = stub(tmp_path, "--load-restrictor")
    with (tmp_path / "kubectl").open("a") as script:
        script.write('[ "$2" = --help ] || { echo "one:" >&2; echo "  two" >&2; exit 1; }\n')
    with pytest.raises(StackError) as caught:
        render(root, "core", failing)
    assert str(caught.value).endswith(": one: two")
