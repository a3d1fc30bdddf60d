"""The files around the code: continuous integration, commit hooks, changelog, and the contributor's guide."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import commands
from stack import setup

ROOT = Path(__file__).resolve().parent.parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "ci.yml"
HOOKS = ROOT / ".pre-commit-config.yaml"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_workflow_is_valid_against_the_published_schema(schema: str) -> None:
    checked = run("check_jsonschema", "--builtin-schema", schema, str(WORKFLOW))
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_workflow_tests_every_python_that_the_project_claims() -> None:
    tested = yaml.safe_load(WORKFLOW.read_text())["jobs"]["test"]["strategy"]["matrix"]["python"]
    claimed = [name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert tested == claimed
    assert PROJECT["requires-python"] == f">={tested[0]}"
    assert ".".join(map(str, setup.OLDEST_PYTHON)) == tested[0]


def test_hooks_are_valid_and_run_programs_of_the_pinned_environment() -> None:
    checked = run("pre_commit", "validate-config", str(HOOKS))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    hooks = [hook for repo in yaml.safe_load(HOOKS.read_text())["repos"] for hook in repo["hooks"]]
    assert hooks
    assert {hook["entry"].split()[0] for hook in hooks} <= {".venv/bin/python", ".venv/bin/hadolint"}


def test_changelog_has_the_current_version_below_what_is_unreleased() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert headings[:2] == ["Unreleased", commands.VERSION]


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md"])
def test_guide_names_only_files_and_links_that_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = {link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    paths = set(re.findall(r"`((?:[\w.]+/)*[\w.-]+\.(?:py|md|yaml|yml|toml|properties|h|c|txt|proto))`", text))
    missing = {path for path in links | paths if not (ROOT / path).exists()}
    assert {path for path in missing if "NAME" not in path} == set()
