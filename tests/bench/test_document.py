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


def test_replaced_section_only_changes() -> None:
    changed = document.replaced(DOCUMENT, "a", "\nnew \\1 table\n\n")
    assert changed == DOCUMENT.replace("old\ntable", "new \\1 table")


def test_replaced_twice_keeps_the_second_text() -> None:
    once = document.replaced(DOCUMENT, "ab", "first")
    assert document.replaced(once, "ab", "second") == document.replaced(DOCUMENT, "ab", "second")


@pytest.mark.parametrize("text", ["nothing", DOCUMENT + DOCUMENT, DOCUMENT.replace("<!-- /bench:a -->", "")])
def test_check_document_without_exactly_one_section_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text(text)
    with pytest.raises(SystemExit, match="one section <!-- bench:a -->"):
        document.check(path, "a")
    assert path.read_text() == text


def test_publish_prints_and_leaves_no_other_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "performance.md"
    path.write_text(DOCUMENT)
    document.publish(path, "a", "new")
    document.publish(None, "a", "unseen")
    assert "new" in path.read_text()
    assert "unseen" not in path.read_text()
    assert capsys.readouterr().out == "new\nunseen\n"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "name", ["handlers", "peers", "growth", "gateway", "libraries", "edge", "engines", "swaps", "tune"]
)
def test_performance_document_has_a_section_for_each_command(name: str) -> None:
    document.check(ROOT / "docs" / "performance.md", name)


def test_check_missing_document_is_named(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"nowhere\.md: No such file"):
        document.check(tmp_path / "nowhere.md", "a")
