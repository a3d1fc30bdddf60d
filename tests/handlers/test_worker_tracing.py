"""A worker draws the spans of what it answered, where it is told to, and no fault of that costs an answer."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from handlers.worker_tracing import SpanRecorder
from settings.load import ROOT
from tests.handlers.archives import png
from tests.handlers.worker import Worker, picture
from tests.observability.collector import Collector

RED = png((255, 0, 0))
ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"


@dataclass(frozen=True)
class Traced:
    """A worker whose spans are kept."""

    worker: Worker
    exporter: InMemorySpanExporter

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())


@pytest.fixture
def traced(vision: Worker) -> Traced:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    vision.service._entry_point.__self__.tracer = SpanRecorder(provider, "colours", "1.0")
    return Traced(vision, exporter)


def parent(number: int, flag: str = "01") -> str:
    return f"00-{number:032x}-{number:016x}-{flag}"


def told(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


def of_trace(spans: list[ReadableSpan], number: int) -> dict[str, ReadableSpan]:
    return {span.name: span for span in spans if span.context and span.context.trace_id == number}


def test_each_request_of_a_batch_gets_spans_in_its_own_trace(traced: Traced) -> None:
    start = f"t={time.time() - 0.25:.6f}"
    good, bad, silent = traced.worker.answer(
        picture(RED, traceparent=parent(1), X_Request_Start=start, X_Request_Id="r-1"),
        picture(b"no picture", traceparent=parent(2), X_Request_Id="r-2"),
        picture(RED, traceparent=parent(3, "00")),
    )
    assert [good.status, bad.status, silent.status] == [200, 400, 200]
    first, second = of_trace(traced.spans, 1), of_trace(traced.spans, 2)
    assert set(first) == {"queue", "worker", "preprocess", "inference", "postprocess"}
    assert set(second) == set(first) - {"queue"}
    assert of_trace(traced.spans, 3) == {}
    worker = first["worker"]
    assert worker.parent is not None
    assert worker.context is not None
    assert worker.parent.span_id == 1
    assert all(first[name].parent == worker.context for name in ("preprocess", "inference", "postprocess"))
    assert told(worker) == {
        "marina.model": "colours",
        "marina.version": "1.0",
        "marina.batch.size": 3,
        "marina.request_id": "r-1",
        "http.response.status_code": 200,
    }
    failed = second["worker"]
    assert (failed.status.is_ok, failed.status.description) == (False, "unreadable_input")
    assert told(failed)["http.response.status_code"] == 400
    # Both were in the worker for as long as the batch was.
    assert (failed.start_time, failed.end_time) == (worker.start_time, worker.end_time)
    names = re.findall(r"(\w+);dur=[0-9.]+", good.headers["server-timing"])
    assert names == ["queue", "preprocess", "inference", "postprocess"]
    assert float(good.headers["server-timing"].partition("queue;dur=")[2].partition(",")[0]) >= 250
    assert "server-timing" not in silent.headers


@pytest.mark.parametrize("start", ["", "yesterday", "t=99999999999.5", "t=1000000000.000000", "tomorrow"])
def test_a_start_that_cannot_be_is_no_queue(traced: Traced, start: str) -> None:
    start = f"t={time.time() + 86400:.3f}" if start == "tomorrow" else start
    answer = traced.worker.one(picture(RED, traceparent=parent(1), X_Request_Start=start))
    assert answer.status == 200
    assert set(of_trace(traced.spans, 1)) == {"worker", "preprocess", "inference", "postprocess"}


@pytest.mark.parametrize("traceparent", ["", "nonsense", f"00-{0:032x}-{0:016x}-01", f"ff-{1:032x}-{1:016x}-01"])
def test_request_without_parent_starts_its_own_trace(traced: Traced, traceparent: str) -> None:
    start = f"t={time.time() - 1:.6f}"
    assert traced.worker.one(picture(RED, traceparent=traceparent, X_Request_Start=start)).status == 200
    assert sorted(span.name for span in traced.spans) == ["inference", "postprocess", "preprocess", "worker"]
    assert len({span.context.trace_id for span in traced.spans if span.context}) == 1


def test_a_fault_in_drawing_costs_no_answer(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no spans today")

    monkeypatch.setattr(TracerProvider, "get_tracer", broken)
    monkeypatch.setattr("handlers.worker_tracing.BatchTimeline.named", broken)
    assert traced.worker.one(picture(RED, traceparent=parent(1))).status == 200


def run(program: str, **env: str) -> str:
    """What a program of its own prints, as a worker would: JSON lines, among them what it says itself."""
    around = "import logging, sys\nlogging.basicConfig(stream=sys.stdout, format='%(message)s', level=logging.INFO)\n"
    around += "from handlers import json_log, telemetry\njson_log.configure_worker('digits', '1.0')\n"
    done = subprocess.run(
        [sys.executable, "-c", around + program],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


LOADED = "print([name for name in ('opentelemetry', 'torch', 'requests') if name in sys.modules])"


def test_without_collector_opentelemetry_is_not_imported() -> None:
    assert run(f"assert telemetry.open_tracer('digits', '1.0') is None\n{LOADED}", **{ENDPOINT: ""}) == "[]\n"


def test_tracing_needs_no_torch() -> None:
    program = f"assert telemetry.open_tracer('digits', '1.0') is not None\n{LOADED}"
    assert "torch" not in run(program, **{ENDPOINT: "http://127.0.0.1:1/v1/traces"})


def test_worker_without_opentelemetry_warns_once() -> None:
    program = "sys.modules['opentelemetry'] = None\nassert telemetry.open_tracer('digits', '1.0') is None"
    [line] = run(program, **{ENDPOINT: "http://127.0.0.1:1/v1/traces"}).splitlines()
    found = json.loads(line)
    assert (found["level"], found["event"], found["model"]) == ("warning", "tracing_unavailable", "digits")
    assert "requirements-otel.txt" in found["cure"]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    made.start()
    yield made
    made.stop()


BATCH = """
from types import SimpleNamespace
from handlers.batch import Forwarded
context = SimpleNamespace(
    get_all_request_header=lambda index: {}, get_response_status=lambda index: (200, ''),
    set_response_header=lambda *_: None,
)
telemetry.open_tracer('digits', '1.0').batch(context, Forwarded(({},), 0.0, 0.0), 0.001)
"""


KILLED = "import os, signal, time\nos.kill(os.getpid(), signal.SIGTERM)\ntime.sleep(60)"


@pytest.mark.parametrize("end", ["sys.exit(0)", KILLED], ids=["hung up", "SIGTERM"])
def test_what_was_not_sent_yet_is_sent_when_a_worker_ends(collector: Collector, end: str) -> None:
    run(BATCH + end, **{ENDPOINT: collector.url, "OTEL_BSP_SCHEDULE_DELAY": "60000"})
    assert sorted(span.name for span in collector.spans) == ["inference", "postprocess", "preprocess", "worker"]
    assert {span.service for span in collector.spans} == {"marina-worker"}


def test_a_worker_ends_although_nobody_takes_its_spans() -> None:
    printed = run(BATCH, **{ENDPOINT: "http://127.0.0.1:1/v1/traces"})
    assert [json.loads(line)["level"] for line in printed.splitlines()] in (["warning"], ["error"])


def test_the_share_that_is_traced_is_the_environments_to_say(collector: Collector) -> None:
    none = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.0"}
    run(BATCH, **none, **{ENDPOINT: collector.url})
    assert collector.spans == []
