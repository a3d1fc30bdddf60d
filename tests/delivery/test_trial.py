"""What was counted of a version under trial, and what is concluded from it."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import prometheus
from delivery import trial
from delivery.analysis import Evidence, judge, table
from delivery.gateway_metrics import CopyCounts, TrialFigures, VersionCounts
from delivery.journal import JournalEntry, Step
from delivery.trial import report_file, run_trial, trial_plan, trial_step
from deployments.serving import DeployedVersion
from deployments.traffic import TrafficFile, read_traffic
from engines.torchserve.engine_client import EngineClient
from errors import MetricsError
from gateway.metrics import TRIAL_BUCKETS, TrialMetrics
from prometheus import GatewayMetrics
from settings import load
from tests.figures import HUNG_UP, FiguresServer, figures, serving
from tests.ports import free_port
from tests.settings.splits import given_split

SETTINGS = load(["canary.weight=0.1", "shadow.share=1"])
NOTHING = VersionCounts({}, {})
SPLIT = given_split()
NEW = DeployedVersion("1.1", "digits-1.1.mar", 1, 0, 2)
ENTRY = JournalEntry("digits", Step.CANARY, NEW, "1.0", (), published=True)
ALIKE = CopyCounts(same=500)


def side(answers: dict[int, int], seconds: float = 0.01) -> VersionCounts:
    good = answers.get(200, 0)
    return VersionCounts(answers, {bound: good if bound >= seconds else 0 for bound in (*TRIAL_BUCKETS, float("inf"))})


def wrongs(
    old: VersionCounts, new: VersionCounts, copies: CopyCounts = ALIKE, *, final: bool = True, live: bool = True
) -> list[str]:
    evidence = Evidence(old, new, copies, 0, live)
    return [row.name for row in judge(evidence, SETTINGS.canary, SETTINGS.shadow, final=final) if row.wrong]


GOOD = side({200: 3000})


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (side({200: 300}), []),
        (side({200: 299, 500: 1}), []),
        (side({200: 290, 503: 10}), ["failed (5xx)"]),
        (side({200: 290, 504: 10}), ["failed (5xx)"]),
        (side({200: 280, 400: 20}), ["refused (4xx)"]),
        (side({200: 300}, seconds=0.03), ["p95"]),
        (side({200: 300}, seconds=0.012), []),
        (side({200: 20}), ["requests"]),
        (side({500: 300}), ["failed (5xx)"]),
        (NOTHING, ["requests"]),
    ],
)
def test_judge_worse_version_fails_the_criterion(new: VersionCounts, expected: list[str]) -> None:
    assert wrongs(GOOD, new) == expected


def test_judge_equal_errors_fail_neither() -> None:
    assert wrongs(side({200: 2700, 422: 200, 500: 100}), side({200: 270, 422: 20, 500: 10})) == []


def test_judge_before_the_end_needs_clear_evidence() -> None:
    few = side({200: 97, 500: 3})
    assert wrongs(side({200: 600, 500: 2}), few) != []
    assert wrongs(side({200: 600, 500: 2}), few, final=False) == []
    assert wrongs(GOOD, side({200: 5}), final=False) == []
    assert wrongs(side({200: 27}), side({500: 3}), final=False) == ["failed (5xx)"]


@pytest.mark.parametrize(
    ("copies", "expected"),
    [
        (CopyCounts(same=480, differs=20), []),
        (CopyCounts(same=400, differs=100), ["disagreement"]),
        (CopyCounts(same=40), ["disagreement"]),  # too few to tell
        (CopyCounts(), ["disagreement"]),
    ],
)
def test_judge_different_answers_to_copies(copies: CopyCounts, expected: list[str]) -> None:
    assert wrongs(GOOD, side({200: 300}), copies) == expected
    assert wrongs(GOOD, side({200: 300}), copies, live=False) == expected


def test_table_shows_both_versions_and_each_statistic() -> None:
    evidence = Evidence(GOOD, side({200: 290, 503: 10}), CopyCounts(same=500, dropped=3, largest=0.25), 10, True)
    lines = table(judge(evidence, SETTINGS.canary, SETTINGS.shadow, final=True), evidence)
    assert lines[0].split() == ["old", "new", "test", "verdict"]
    [failed] = [line for line in lines if line.startswith("failed (5xx)")]
    assert failed.split()[2:4] == ["0/3000", "10/300"]
    assert "Fisher p=" in failed
    assert failed.endswith("worse")
    assert "10 requests were answered by the old version because the new one did not" in lines
    assert lines[-1].endswith("3 not sent; largest change of a probability or action 0.25")


def text(*rounds: tuple[int, int]) -> str:
    """What a gateway's metrics say after so many good and failed answers of the new version."""
    registry = CollectorRegistry()
    metrics = TrialMetrics(registry)
    metrics.begun("digits", "1.1")
    for good, failed in rounds:
        for status in [200] * good + [500] * failed:
            metrics.answered("digits", "1.1", "live", status, 0.004)
            metrics.answered("cartpole", "1.1", "live", status, 0.004)
        metrics.copied("digits", "1.1", "same")
        metrics.changed("digits", "1.1", 0.125)
        metrics.fallback("digits", "1.1")
    return generate_latest(registry).decode()


@pytest.fixture
def server() -> Iterator[FiguresServer]:
    with serving() as started:
        yield started


def looked(server: FiguresServer, *texts: str) -> TrialFigures:
    """What was counted while the gateway answered one text after the other."""
    counted = TrialFigures(GatewayMetrics(server.settings().gateway), "digits")
    for each in texts:
        server.text = figures({"digits": "1.0"}) + each
        assert counted.look()
    return counted


def test_trial_figures_count_since_the_first_look(server: FiguresServer) -> None:
    assert looked(server, text((100, 50))).version("1.1", "live").requests == 0
    counted = looked(server, text((100, 50)), text((100, 50), (7, 2)))
    found = counted.version("1.1", "live")
    assert (found.requests, found.failed, found.refused) == (9, 2, 0)
    assert found.seconds[float("inf")] == 7
    assert found.seconds[TRIAL_BUCKETS[8]] == 0
    assert found.seconds[TRIAL_BUCKETS[10]] == 7
    assert counted.version("1.1", "shadow") == counted.version("1.0", "live") == NOTHING
    assert counted.copies("1.1") == CopyCounts(same=1, largest=0.125)
    assert counted.fallbacks("1.1") == 1


def test_trial_figures_restarted_gateway_counts_from_zero(server: FiguresServer) -> None:
    counted = looked(server, text((100, 50)), text((110, 50)), text((5, 1)), text((6, 1)))
    assert (counted.version("1.1", "live").requests, counted.version("1.1", "live").failed) == (17, 1)


class Engine:
    """A host whose new version has its workers; each look at it does `then`, as time goes by."""

    def __init__(self, then: Callable[[], object]) -> None:
        self._then = then
        self.ready_workers = 2

    def find(self, model: str, version: str) -> Any:
        self._then()
        return self


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "FOLLOWED_S", 0.1)
    monkeypatch.setattr(trial, "POLL_S", 0.02)


def tried(server: FiguresServer, folder: Path, then: Callable[[], object], *overrides: str) -> dict[str, Any]:
    """Try a version out, with figures that change on the way; the report."""
    settings = server.settings(f"paths.state={folder}", "canary.minutes=0.001", "shadow.minutes=0.001", *overrides)
    try:
        run_trial(cast(EngineClient, Engine(then)), TrafficFile.of(settings), settings, ENTRY)
    finally:
        written: dict[str, Any] = json.loads(report_file(settings, "digits", "1.1").read_text())
    return written


def good(count: int) -> str:
    """A gateway's text after so many good answers of both versions, copies among them."""
    registry = CollectorRegistry()
    metrics = TrialMetrics(registry)
    for _ in range(count):
        metrics.answered("digits", "1.0", "live", 200, 0.004)
        metrics.answered("digits", "1.1", "live", 200, 0.004)
        metrics.answered("digits", "1.1", "shadow", 200, 0.004)
        metrics.copied("digits", "1.1", "same")
    return figures({"digits": "1.0"}) + generate_latest(registry).decode()


each_kind = pytest.mark.parametrize(
    "kind", [("canary.weight=0.5", "canary.min_requests=20"), ("shadow.share=1", "shadow.min_compared=20")]
)


@each_kind
def test_run_trial_readable_to_its_end_passes(server: FiguresServer, tmp_path: Path, kind: tuple[str, ...]) -> None:
    server.text = good(0)
    assert tried(server, tmp_path, lambda: setattr(server, "text", good(50)), *kind)["failed_because"] is None


@each_kind
@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("status", 401, "answers 401"), ("trouble", HUNG_UP, "does not answer"), ("text", "x\n", "not with metrics")],
)
def test_run_trial_figures_lost_raise(
    server: FiguresServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: tuple[str, ...],
    field: str,
    value: object,
    words: str,
) -> None:
    monkeypatch.setattr(prometheus, "BLIND_S", 0.5)
    server.text = good(0)

    def then() -> None:
        # All that was seen spoke for the new version; then nothing is seen any longer.
        if len(server.asked) == 1:
            server.text = good(50)
        else:
            setattr(server, field, value)

    with pytest.raises(MetricsError, match=words):
        tried(server, tmp_path, then, *kind)


def test_run_trial_without_gateway_does_not_begin(server: FiguresServer, tmp_path: Path) -> None:
    settings = server.settings(f"gateway.port={free_port()}", f"paths.state={tmp_path}", "canary.weight=0.5")
    with pytest.raises(MetricsError, match="connection refused"):
        run_trial(cast(EngineClient, Engine(lambda: None)), TrafficFile.of(settings), settings, ENTRY)
    assert TrafficFile.of(settings).all() == {}


def test_traffic_file_holds_several_models(tmp_path: Path) -> None:
    splits = TrafficFile(tmp_path / "traffic.json")
    assert not splits.clear("digits")
    assert list(tmp_path.iterdir()) == []
    splits.put("digits", SPLIT)
    splits.put("cartpole", SPLIT)
    assert read_traffic(tmp_path / "traffic.json").models == splits.all() == {"digits": SPLIT, "cartpole": SPLIT}
    assert splits.clear("digits")
    assert not splits.clear("digits")
    assert list(splits.all()) == ["cartpole"]
    assert [file.name for file in tmp_path.iterdir()] == ["traffic.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema_version": 2, "models": {}}', '{"models": {"a": {}}}'])
def test_traffic_file_damaged_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "traffic.json").write_text(content)
    splits = TrafficFile(tmp_path / "traffic.json")
    assert splits.all() == {}
    splits.put("digits", SPLIT)
    assert splits.all() == {"digits": SPLIT}


def test_trial_plan_describes_canary_and_shadow() -> None:
    [canary] = trial_plan(load(["canary.weight=0.1", "canary.sticky_header=x-user"]), "1.0", "1.1")
    assert canary == "have 1.1 answer 0.1 of the requests for 10 min, the same clients by x-user"
    words = trial_plan(load(["shadow.share=0.5", "shadow.only=true", "shadow.minutes=2"]), "1.0", "1.1")
    assert words == [
        "send 1.1 copies of 0.5 of the requests for 2 min, and compare the answers",
        "report, remove 1.1 again and keep 1.0",
    ]
    assert trial_step(load()) is None
    assert trial_plan(load(), "1.0", "1.1") == []
