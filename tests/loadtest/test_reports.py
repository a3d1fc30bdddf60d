import json
import multiprocessing
import os
import resource
from pathlib import Path
from typing import Any

import pytest

from errors import ConfigError, LoadError
from loadtest.compare import compare_files, comparison_lines, write_page
from loadtest.pages.report_pages import run_page
from loadtest.report_files import ReportFiles, read_report, report_document, write_new
from tests.loadtest.reports import STARTED, report, stress_settings


def _write(folder: Path, rates: list[float], **changed: Any) -> Path:
    files = ReportFiles.of(stress_settings(reports=str(folder)), folder)
    assert files is not None
    return files.write(report_document(report(rates, **changed)), STARTED)[0]


def test_report_files_same_second_get_different_names(tmp_path: Path) -> None:
    first, second = _write(tmp_path, [100.0]), _write(tmp_path, [200.0])
    assert first.name == "digits-20261121-120000.json"
    assert second.name == "digits-20261121-120000-2.json"
    assert read_report(first)["rate"]["mean"] == 100
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".html", ".json", ".json"]


@pytest.mark.parametrize("there", ["run.json", "run.html"])
def test_report_files_existing_name_is_refused(tmp_path: Path, there: str) -> None:
    (tmp_path / there).write_text("older")
    with pytest.raises(ConfigError, match="never replaces"):
        ReportFiles.of(stress_settings(report=str(tmp_path / "run.json")), tmp_path)
    assert (tmp_path / there).read_text() == "older"


def test_report_files_without_folder_are_none(tmp_path: Path) -> None:
    assert ReportFiles.of(stress_settings(reports=None), tmp_path) is None


def _write_with_a_full_disk(folder: Path, told: "multiprocessing.Queue[str]") -> None:
    files = ReportFiles.of(stress_settings(reports=str(folder)), folder)
    assert files is not None
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))  # the disk fills during the run
    try:
        files.write(report_document(report([100.0, 101.0])), STARTED)
    except LoadError as error:
        told.put(str(error))


def test_report_files_full_disk_raises_and_leaves_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    told: multiprocessing.Queue[str] = context.Queue()
    process = context.Process(target=_write_with_a_full_disk, args=(tmp_path, told))
    process.start()
    words = told.get(timeout=60)
    process.join(60)
    assert "the report is not written" in words
    assert os.strerror(27) in words
    assert list(tmp_path.iterdir()) == []


def test_write_new_existing_file_is_kept(tmp_path: Path) -> None:
    write_new(tmp_path / "a", "one")
    with pytest.raises(FileExistsError):
        write_new(tmp_path / "a", "two")
    assert [path.read_text() for path in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "No such file"),
        ("", "cut short"),
        ('{"rounds": [1, 2', "cut short"),
        ("[]", "no report"),
        ('{"a": 1}', "no report"),
        ('{"rounds": [], "schema_version": 1}', "another version"),
    ],
)
def test_read_report_other_file_raises_one_line(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LoadError, match=words) as caught:
        read_report(path)
    assert "\n" not in str(caught.value)


def test_compare_noise_is_no_difference(tmp_path: Path) -> None:
    a = _write(tmp_path, [100.0, 108.0, 95.0, 103.0, 99.0], seed=1)
    b = _write(tmp_path, [104.0, 98.0, 101.0, 96.0, 107.0], seed=2)
    said = "\n".join(comparison_lines(compare_files(a, b)))
    assert "throughput: no difference that the noise allows to tell" in said
    assert "Warning" not in said


def test_compare_faster_server_is_better(tmp_path: Path) -> None:
    a = _write(tmp_path, [100.0, 102.0, 98.0, 101.0, 99.0], seed=1)
    b = _write(tmp_path, [130.0, 131.0, 129.0, 132.0, 128.0], seed=2)
    said = "\n".join(comparison_lines(compare_files(a, b)))
    assert "throughput: B is better, 30.0% higher" in said
    assert "throughput: B is worse" in "\n".join(comparison_lines(compare_files(b, a)))


def test_compare_other_differences_are_listed(tmp_path: Path) -> None:
    a = _write(tmp_path, [100.0] * 5)
    b = _write(tmp_path, [100.0] * 5, errors=3, model="weather")
    found = compare_files(a, b)
    assert found.differences == ("the models differ: digits and weather", "B: 3 of 1003 requests failed")
    page = write_page(found, tmp_path / "page.html")
    assert "Other differences" in page.read_text()
    with pytest.raises(LoadError, match="File exists"):
        write_page(found, page)


def test_compare_too_few_complete_rounds_have_no_verdict(tmp_path: Path) -> None:
    a = _write(tmp_path, [100.0] * 5)
    b = _write(tmp_path, [100.0] * 4, interrupted=True)
    found = compare_files(a, b)
    assert {verdict.kind for _, verdict, _ in found.verdicts} == {"too few"}
    assert "B: it was interrupted" in found.differences
    only_broken = _write(tmp_path, [100.0], interrupted=True)
    with pytest.raises(LoadError, match="no complete round"):
        compare_files(a, only_broken)


def test_run_page_partial_report_warns_at_top() -> None:
    page = run_page(report_document(report([100.0, 90.0], interrupted=True)))
    assert page.index("Partial report") < page.index("<svg")


def test_run_page_escapes_values_and_loads_nothing() -> None:
    page = run_page(report_document(report([100.0], model="<script>alert(1)</script>")))
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<link" not in page
    assert "<img" not in page
    assert "url(" not in page


def test_comparison_page_escapes_values(tmp_path: Path) -> None:
    first, second = (_write(tmp_path, [100.0] * 4, model=model) for model in ("<script>", "<em>"))
    page = write_page(compare_files(first, second), tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "the models differ: &lt;script&gt; and &lt;em&gt;" in page


def test_run_page_without_answers_is_drawn() -> None:
    page = run_page(report_document(report([])))
    assert "no answer" in page
    assert "Nothing was measured." in page


def test_report_document_is_json_without_infinities() -> None:
    json.dumps(report_document(report([100.0], errors=2)), allow_nan=False)
