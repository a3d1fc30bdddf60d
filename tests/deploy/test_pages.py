"""The pages lead where they say."""

import re
from pathlib import Path

import pytest

from settings.load import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")


def anchors(page: Path) -> set[str]:
    """Headings as GitHub names them in addresses."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_and_headings_that_there_are(page: Path) -> None:
    broken = []
    for link in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if "://" in link:
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_page_is_reached_from_the_front_page_or_the_index_of_operations() -> None:
    reached = {"operations.md"}
    for page in (ROOT / "README.md", ROOT / "docs" / "operations.md"):
        reached |= {Path(link.partition("#")[0]).name for link in LINK.findall(page.read_text())}
    assert {page.name for page in (ROOT / "docs").glob("*.md")} - reached == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text()
    modules = {ROOT / name.replace(".", "/") for name in re.findall(r"python3? -m ([a-z][\w.]+)", text)}
    modules = {module for module in modules if module.name not in {"pytest", "pip"}}
    missing = {module for module in modules if not (module / "__main__.py").exists()}
    assert {module.name for module in missing if not module.with_suffix(".py").exists()} == set()
    scripts = re.findall(r"python3? (\w+\.py)", text)
    assert {name for name in scripts if not (ROOT / name).exists()} == set()


def test_the_operations_index_and_the_troubles_name_alerts_and_checks_that_there_are() -> None:
    troubles = (ROOT / "docs" / "troubleshooting.md").read_text()
    alerts = set(re.findall(r"alert: (\w+)", (ROOT / "docker" / "prometheus" / "alerts.yml").read_text()))
    named = {word for word in re.findall(r"`([A-Z]\w+)`", troubles) if word[1:] != word[1:].upper()}
    assert named - alerts == set()
    checks = "".join(path.read_text() for path in (ROOT / "delivery" / "doctor").glob("*.py"))
    holes = set(re.findall(r"\*([a-z][a-z ]+)\*", troubles))
    assert holes
    assert {hole for hole in holes if f'"{hole}' not in checks} == set()
