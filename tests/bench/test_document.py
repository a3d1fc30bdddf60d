"""Sections of a document that a command replaces."""

from pathlib import Path

import pytest

from bench import document
from settings.load import ROOT

DOCUMENT = """# Title

<!-- bench:a -->
old
table
<!-- /bench:a -->

between

<!-- bench:ab -->
other
<!-- /bench:ab -->
"""


def test_a_section_is_replaced_and_nothing_else() -> None:
    changed = document.replaced(DOCUMENT, "a", "\nnew \\1 table\n\n")
    assert changed == DOCUMENT.replace("old\ntable", "new \\1 table")


def test_a_second_run_replaces_the_first() -> None:
    once = document.replaced(DOCUMENT, "ab", "first")
    assert document.replaced(once, "ab", "second") == document.replaced(DOCUMENT, "ab", "second")


@pytest.mark.parametrize("text", ["nothing", DOCUMENT + DOCUMENT, DOCUMENT.replace("<!-- /bench:a -->", "")])
def test_a_document_without_exactly_one_such_section_is_refused_before_anything_is_measured(
    text: str, tmp_path: Path
) -> None:
    path = tmp_path / "performance.md"
    path.write_text(text)
    with pytest.raises(SystemExit, match="one section <!-- bench:a -->"):
        document.check(path, "a")
    assert path.read_text() == text


def test_writing_leaves_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(DOCUMENT)
    document.write(path, "a", "new")
    document.write(None, "a", "unseen")
    assert "new" in path.read_text()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["handlers", "peers", "growth", "gateway", "edge", "tune"])
def test_the_document_has_a_section_for_each_command(name: str) -> None:
    document.check(ROOT / "docs" / "performance.md", name)


def test_a_document_that_is_not_there_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nowhere\.md: No such file"):
        document.check(tmp_path / "nowhere.md", "a")
