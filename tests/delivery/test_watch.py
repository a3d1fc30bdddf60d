"""What a watch after a switch sees, and what it makes of figures that it cannot read."""

import itertools
import time
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

import prometheus
from delivery import watch
from delivery.gateway_metrics import AnswerCounts
from delivery.rollout import RolloutResult
from delivery.watch import TrafficWatch
from deployments.serving import DeployedVersion
from engines.torchserve.engine_client import EngineClient
from errors import MetricsError, RolloutError
from tests.figures import HUNG_UP, FiguresServer, calls, figures, serving
from tests.ports import free_port

NEW = DeployedVersion("1.1", "digits-1.1.mar", 4, 5, 1)
NODES = "engine.nodes=[{name: a, inference_url: 'http://a:1', management_url: 'http://a:2', token: t}]"


class Engine:
    """A host whose new version has its worker; each look at it does `then` first, as time goes by."""

    def __init__(self, then: Callable[[], object] = lambda: None, ready: int = 1) -> None:
        self._then = then
        self.ready_workers = ready

    def find(self, model: str, version: str) -> Any:
        self._then()
        return self


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "POLL_S", 0.01)
    monkeypatch.setattr(watch, "KNOWN_S", 0.2)
    monkeypatch.setattr(prometheus, "BLIND_S", 0.2)


@pytest.fixture
def server() -> Iterator[FiguresServer]:
    with serving(calls(100)) as started:
        yield started


def begun(server: FiguresServer, *overrides: str, node: str = "engine") -> TrafficWatch:
    found = TrafficWatch(server.settings("rollout.watch_s=0.2", *overrides), "digits", node)
    found.begin()
    return found


def follow(watched: TrafficWatch, engine: Engine) -> AnswerCounts:
    return watched.follow(cast(EngineClient, engine), NEW)


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_watch_unreadable_figures_raise_at_begin(server: FiguresServer, status: int) -> None:
    server.status = status
    with pytest.raises(MetricsError, match=rf"answers {status}.*; rollout\.watch_s=0 rolls out without a watch"):
        begun(server)


def test_watch_no_gateway_raises_at_begin(server: FiguresServer) -> None:
    with pytest.raises(MetricsError, match=r"does not answer \(connection refused\)"):
        begun(server, f"gateway.port={free_port()}")


def test_watch_gateway_without_the_model_raises_at_begin(server: FiguresServer) -> None:
    server.text = figures({"cartpole": "1.0"})
    with pytest.raises(MetricsError, match="names no model digits"):
        begun(server)


def test_watch_idle_gateway_is_waited_for(server: FiguresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "KNOWN_S", 60)
    monkeypatch.setattr(time, "sleep", lambda _: setattr(server, "text", calls(100)))
    server.text = figures({})
    begun(server)
    assert len(server.asked) == 2


def test_watch_second_begin_waits_for_a_starting_gateway(
    server: FiguresServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "KNOWN_S", 60)
    found = begun(server)
    monkeypatch.setattr(time, "sleep", lambda _: setattr(server, "status", 200))
    server.status = 503
    found.begin()
    server.status = 401
    with pytest.raises(MetricsError, match="MARINA_API_KEY"):
        found.begin()


def test_watch_counts_answers_since_begin(server: FiguresServer) -> None:
    assert follow(begun(server), Engine(lambda: setattr(server, "text", calls(130, 2)))) == AnswerCounts(32, 2)


def test_watch_too_many_failed_answers_raise(server: FiguresServer) -> None:
    with pytest.raises(RolloutError, match="5 of its first 10 answers failed"):
        follow(begun(server), Engine(lambda: setattr(server, "text", calls(105, 5))))


def test_watch_earlier_share_of_failures_is_tolerated(server: FiguresServer) -> None:
    server.text = calls(50, 50)
    assert follow(begun(server), Engine(lambda: setattr(server, "text", calls(55, 55)))) == AnswerCounts(10, 5)


def test_watch_of_one_host_counts_only_that_host(server: FiguresServer) -> None:
    server.text = calls(100, node="a")
    found = begun(server, NODES, node="a")
    text = calls(107, 1, node="a") + 'marina_gateway_node_calls_total{node="b",model="digits",status="503"} 50\n'
    assert follow(found, Engine(lambda: setattr(server, "text", text))) == AnswerCounts(8, 1)


def test_watch_without_requests_is_a_remark(server: FiguresServer) -> None:
    seen = follow(begun(server), Engine())
    assert seen == AnswerCounts(0, 0)
    assert "no request came" in str(seen)
    assert RolloutResult("digits", "1.1", True, watched=seen).remarks == " (no request came while it was watched)"
    several = RolloutResult("digits", "1.1", True, where="a: 1.1", watched=seen)
    assert several.remarks == " (a: 1.1; no request came while it was watched)"
    assert (
        RolloutResult("digits", "1.1", True, watched=AnswerCounts(1, 0)).remarks
        == RolloutResult("digits", "1.1", True).remarks
        == ""
    )


def test_watch_figures_lost_raise(server: FiguresServer) -> None:
    with pytest.raises(MetricsError, match="answers 401"):
        follow(begun(server), Engine(lambda: setattr(server, "status", 401)))
    server.status = 200
    with pytest.raises(MetricsError, match="does not answer"):
        follow(begun(server), Engine(lambda: setattr(server, "trouble", HUNG_UP)))
    server.trouble = None
    with pytest.raises(MetricsError, match="counts nan"):
        follow(begun(server), Engine(lambda: setattr(server, "text", calls(float("nan")))))


def test_watch_restarted_gateway_goes_on(server: FiguresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = itertools.count(step=0.02)  # so that the watch has room for every step on a busy machine
    monkeypatch.setattr(watch, "time", SimpleNamespace(monotonic=clock.__next__, sleep=time.sleep))
    monkeypatch.setattr(prometheus, "BLIND_S", 60)
    steps = iter([("status", 503), ("text", calls(3, 1, started=2)), ("status", 200), ("text", calls(5, 2, started=2))])
    found = begun(server)
    assert follow(found, Engine(lambda: setattr(server, *next(steps, ("status", 200))))) == AnswerCounts(7, 2)


def test_watch_lost_worker_raises(server: FiguresServer) -> None:
    with pytest.raises(RolloutError, match="0 of its 1 workers are left"):
        follow(begun(server), Engine(ready=0))
