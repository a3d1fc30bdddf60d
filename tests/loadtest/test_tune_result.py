import json
import stat
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from errors import LoadError
from loadtest.resources import HostInfo
from loadtest.tune.evaluator import upload_overrides
from loadtest.tune.goal import EvaluationResult, LatencyGoal
from loadtest.tune.result import SearchResult, search_document, search_page, write_settings
from loadtest.tune.search import SearchEnd
from loadtest.tune.space import Candidate

BEST, SLOW = Candidate(2, 1, 8, 5, None), Candidate(1, 2, 4, 0, None)
RESULT = SearchResult(
    model="digits",
    unit="imgs",
    goal=LatencyGoal.of("p99:80ms"),
    load="8 clients, made inputs",
    end=SearchEnd(BEST, reached=True, reason="everything was tried"),
    results={
        BEST: EvaluationResult((200.0, 210.0), (60.0, 62.0), 400, 0, 2**29, 1.8),
        SLOW: EvaluationResult((90.0, 91.0), (95.0, 97.0), 200, 0, 2**28, 1.1),
    },
    before=SLOW,
    spent_s=90.0,
    ended=datetime(2026, 11, 21, 12, 0, tzinfo=UTC),
    machine=HostInfo("Linux 6", "Made-up CPU", 2, 2**33, 0.1, "3.11", "3.14"),
)


def test_write_settings_names_goal_and_replaces_file(tmp_path: Path) -> None:
    path = tmp_path / "served_model" / "digits.tuned.yaml"
    write_settings(RESULT, path)
    assert yaml.safe_load(path.read_text()) == {
        "request_params": {"initial_workers": 2, "threads": 1, "batch_size": 8, "max_batch_delay": 5}
    }
    assert "p99 of at most 80 ms" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    write_settings(replace(RESULT, end=SearchEnd(SLOW, reached=True, reason="x")), path)
    assert yaml.safe_load(path.read_text())["request_params"]["initial_workers"] == 1
    assert [each.name for each in path.parent.iterdir()] == ["digits.tuned.yaml"]


def test_write_settings_unwritable_file_raises() -> None:
    with pytest.raises(LoadError, match="not written"):
        write_settings(RESULT, Path("/proc/none/digits.tuned.yaml"))


def test_search_page_shows_front_and_costs() -> None:
    page = search_page(RESULT)
    assert page.count("<circle") == 2
    for word in ("workers 2, threads 1, batch 8, delay 5", "512 MiB", "misses the goal", "best, front", "before"):
        assert word in page
    assert "was not reached" not in page


def test_search_page_missed_goal_is_at_top() -> None:
    page = search_page(
        replace(RESULT, goal=LatencyGoal.of("p99:5ms"), end=SearchEnd(BEST, reached=False, reason="time"))
    )
    assert page.index("The goal was not reached") < page.index("<svg")
    assert "The closest: workers 2" in page


def test_search_page_escapes_values() -> None:
    page = search_page(replace(RESULT, model="<script>", load="<i>"))
    assert "<script" not in page
    assert "Tuned &lt;script&gt;: workers 2" in page
    assert "&lt;i&gt; · 2026-11-21" in page


def test_search_document_is_json() -> None:
    content = json.loads(json.dumps(search_document(RESULT), allow_nan=False))
    assert content["best"]["batch_size"] == 8
    assert [trial["front"] for trial in content["trials"]] == [True, False]


def test_upload_overrides_leave_out_search_settings() -> None:
    given = ["served_model=digits", "tune.minutes=1", "stress.clients=4", "gateway.port=1", "++tune.slo='p99:1s'",
             "served_model.request_params.batch_size=3"]  # fmt: skip
    assert upload_overrides(given) == ("served_model=digits", "gateway.port=1")
