"""When a model gets a worker more or less, by what the gateway has counted."""

import logging
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import requests
from prometheus_client import CollectorRegistry, Gauge

from delivery import autoscaler
from delivery.autoscaler import ScalingLoop, WorkerScaler, frozen_gauge
from delivery.gateway_metrics import ModelLoad, ModelTotals
from errors import ConfigError
from prometheus import parse
from settings import load
from settings.schema import ScalingSettings, WorkerLimits
from tests.figures import CUT, HUNG_UP, FiguresServer, figures, serving
from tests.ports import free_port

SCALING = ScalingSettings(
    models={}, target_queue_ms=20, calm_queue_ms=2, up_after_s=5, down_after_s=60, check_s=1, metrics_port=None
)
BUSY, CALM, BETWEEN = ModelLoad(30, 8, 0), ModelLoad(0, 0.1, 0), ModelLoad(10, 4, 0)


def scaler(least: int = 1, most: int = 4) -> WorkerScaler:
    return WorkerScaler(WorkerLimits(min_workers=least, max_workers=most), SCALING)


def seen(scaler: WorkerScaler, load: ModelLoad, workers: int, seconds: range) -> list[int]:
    return [scaler.wanted(float(now), load, workers, batch_size=4) for now in seconds]


def test_scaler_lasting_wait_adds_a_worker() -> None:
    assert seen(scaler(), BUSY, 2, range(7)) == [2, 2, 2, 2, 2, 3, 3]


def test_scaler_refused_requests_count_as_wait() -> None:
    assert seen(scaler(), ModelLoad(0, 8, 3), 1, range(6))[-1] == 2


def test_scaler_short_burst_changes_nothing() -> None:
    one = scaler()
    assert seen(one, BUSY, 2, range(4)) == [2] * 4
    assert seen(one, BETWEEN, 2, range(4, 6)) == [2] * 2
    assert seen(one, BUSY, 2, range(6, 11)) == [2] * 5


def test_scaler_lasting_calm_removes_a_worker() -> None:
    assert seen(scaler(), CALM, 3, range(61)) == [3] * 60 + [2]


def test_scaler_between_thresholds_changes_nothing() -> None:
    assert set(seen(scaler(), BETWEEN, 2, range(500))) == {2}


def test_scaler_busy_workers_stay() -> None:
    assert set(seen(scaler(), ModelLoad(0, 3.0, 0), 2, range(500))) == {2}


def test_scaler_keeps_its_limits() -> None:
    assert set(seen(scaler(1, 2), BUSY, 2, range(100))) == {2}
    assert set(seen(scaler(2, 4), CALM, 2, range(500))) == {2}
    assert seen(scaler(2, 4), CALM, 1, range(1)) == [2]
    assert seen(scaler(1, 2), BUSY, 4, range(1)) == [3]


def test_scaler_reset_begins_again() -> None:
    one = scaler()
    assert seen(one, BUSY, 1, range(6))[-1] == 2
    one.reset()
    assert seen(one, BUSY, 2, range(6, 11)) == [2] * 5


def counted(requests: float, waited_s: float, in_engine_s: float, refused: float = 0, started: float = 1) -> str:
    """A gateway's text after that many requests of digits."""
    return (
        figures({"digits": "1.0"}, started)
        + f"""\
# TYPE marina_gateway_queue_wait_seconds histogram
marina_gateway_queue_wait_seconds_bucket{{le="0.001",model="digits"}} 0.0
marina_gateway_queue_wait_seconds_count{{model="digits"}} {requests}
marina_gateway_queue_wait_seconds_sum{{model="digits"}} {waited_s}
# TYPE marina_gateway_upstream_seconds histogram
marina_gateway_upstream_seconds_sum{{model="digits",status="200"}} {in_engine_s}
marina_gateway_upstream_seconds_sum{{model="digits",status="503"}} 0.0
# TYPE marina_gateway_shed_total counter
marina_gateway_shed_total{{model="digits"}} {refused}
"""
    )


def test_model_load_from_the_gateways_counters() -> None:
    found = ModelTotals.of(parse(counted(10, 0.5, 3, 2)).counters, "digits")
    assert found == ModelTotals(0.5, 10, 3, 2)
    assert ModelLoad.between(ModelTotals(), found, seconds=2) == ModelLoad(50.0, 1.5, 2)
    assert ModelLoad.between(ModelTotals(), ModelTotals(), seconds=2) == ModelLoad(0, 0, 0)


class Stage:
    """A loop in front of a gateway whose figures a test writes, and the engine's workers."""

    def __init__(self, server: FiguresServer, patch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.workers = 4
        self.gauge = Gauge("frozen", "", ["model"], registry=CollectorRegistry())
        self.now = 0
        self._requests = 0.0
        self._in_engine_s = 0.0
        settings = server.settings("scaling.models={digits: {min_workers: 1, max_workers: 4}}")
        self.loop = ScalingLoop(settings, self.gauge)
        patch.setattr(autoscaler, "resize", lambda model, wanted, settings: setattr(self, "workers", wanted))
        patch.setattr(autoscaler, "serving_versions", lambda model, settings: [self._version()])

    def _version(self) -> SimpleNamespace:
        return SimpleNamespace(min_workers=self.workers, batch_size=8)

    def load(self, seconds: int, *, outstanding: float, started: float = 1) -> None:
        """So many seconds under a load that keeps `outstanding` requests in the engine."""
        for _ in range(seconds):
            self._requests += 10
            self._in_engine_s += outstanding
            self.server.text = counted(self._requests, 0.0, self._in_engine_s, started=started)
            self.turn(1)

    def turn(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1
            self.loop.turn(float(self.now))

    def frozen(self) -> bool:
        return bool(self.gauge.labels("digits")._value.get())


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    with serving() as server:
        yield Stage(server, monkeypatch)


def test_loop_idle_model_loses_workers(stage: Stage) -> None:
    stage.load(100, outstanding=20)
    assert stage.workers == 4
    stage.load(62, outstanding=0)
    assert stage.workers == 3
    assert not stage.frozen()


@pytest.mark.parametrize(
    ("field", "value"),
    [("status", 401), ("status", 403), ("status", 404), ("status", 503), ("trouble", CUT), ("trouble", HUNG_UP),
     ("text", "<html>\n"), ("text", figures({})), ("text", figures({"cartpole": "1.0"})),
     ("text", counted(float("nan"), 0, 0))],
)  # fmt: skip
def test_loop_unreadable_figures_freeze_the_model(
    stage: Stage, caplog: pytest.LogCaptureFixture, field: str, value: object
) -> None:
    caplog.set_level(logging.INFO)
    stage.load(3, outstanding=20)
    well = getattr(stage.server, field)
    setattr(stage.server, field, value)
    stage.turn(200)
    assert stage.workers == 4
    assert stage.frozen()
    [line] = [record.message for record in caplog.records]
    assert line.startswith("digits keeps its workers: ")
    setattr(stage.server, field, well)
    stage.load(30, outstanding=20)
    assert not stage.frozen()
    assert caplog.records[-1].message == "digits is scaled again"
    assert stage.workers == 4


def test_loop_survives_a_fault_that_nobody_expected(
    stage: Stage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise PermissionError("odd")

    with monkeypatch.context() as patch:
        patch.setattr(autoscaler, "resize", broken)
        stage.load(100, outstanding=0)
    assert "digits is not scaled" in caplog.text
    assert "PermissionError: odd" in caplog.text
    stage.load(62, outstanding=0)
    assert stage.workers == 3


def test_loop_calm_before_a_gap_does_not_count(stage: Stage) -> None:
    stage.load(50, outstanding=0)
    stage.server.status = 503
    stage.turn(5)
    stage.server.status = 200
    stage.load(50, outstanding=0)
    assert stage.workers == 4
    stage.load(15, outstanding=0)
    assert stage.workers == 3


def test_loop_restarted_gateway_begins_again(stage: Stage) -> None:
    stage.load(50, outstanding=0)
    stage.load(50, outstanding=0, started=2)
    assert stage.workers == 4


def test_frozen_gauge_is_served_and_a_taken_port_is_one_line() -> None:
    port = free_port()
    frozen_gauge(port).labels("digits").set(1)
    assert (
        'marina_scaler_frozen{model="digits"} 1.0' in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=30).text
    )
    with pytest.raises(ConfigError, match=f"scaling.metrics_port={port} cannot be used"):
        frozen_gauge(port)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("scaling.calm_queue_ms=20", "calm_queue_ms must be below target_queue_ms"),
        ("scaling.models={digits: {min_workers: 3, max_workers: 2}}", "min_workers must not be above max_workers"),
        ("scaling.models={digits: {min_workers: 0, max_workers: 2}}", "greater than or equal to 1"),
    ],
)
def test_scaling_settings_contradictions_are_refused(override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load([override])


def test_scaling_settings_default_scales_nothing() -> None:
    assert load().scaling.models == {}
