"""One trace across the gateway and the engine call, and none when it is off."""

import asyncio
import contextvars
import re
import subprocess
import sys

import pytest
import requests
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler

from errors import InvalidFields
from gateway.examples import PICTURE
from gateway.hooks import EngineResponse, PredictionRequest
from gateway.http.context import RequestContext
from gateway.metrics import Metrics
from gateway.otel import OtelTracer
from gateway.scheduling.coalesce import Coalescer, reader_for
from logs import current_trace_id
from settings import load
from settings.schema import CoalesceSettings
from tests.gateway.engine import Engine
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for
from tests.gateway.stage_parts import CARD, GivenEngine, request

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


class Traces:
    """A tracer, and the spans that it has drawn."""

    def __init__(self, sampler: Sampler | None = None) -> None:
        self._exporter, provider = InMemorySpanExporter(), TracerProvider(sampler)
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = OtelTracer(provider, self._exporter)

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [found] = self.named(name)
        return found


def ids(span: ReadableSpan) -> tuple[str, str, str | None]:
    """Trace, span and parent."""
    assert span.context is not None
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}", parent


def is_sampled(traceparent: str) -> bool:
    """The lowest of its flags; another says that the id is random."""
    return bool(int(traceparent[-2:], 16) & 1)


def told(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


@pytest.mark.parametrize("headers", [{}, {"traceparent": f"00-{TRACE}-{PARENT}-01"}])
def test_request_is_one_trace_with_a_span_for_the_engine_call(engine: Engine, headers: dict[str, str]) -> None:
    traces = Traces()
    with gateway_for(engine, tracer=traces.tracer) as url:
        named = {**headers, "X-Request-Id": "order-66"}
        answer = requests.post(f"{url}/models/digits/predict", data=PICTURE, headers=named, timeout=30)
        assert answer.status_code == 200
    whole, call = traces.one("POST /models/{model}/predict"), traces.one("engine predict")
    trace_id, span_id, parent = ids(whole)
    assert ids(call)[::2] == (trace_id, span_id)
    assert told(whole)["marina.request_id"] == "order-66"
    assert told(whole)["marina.model"] == "digits"
    assert told(whole)["http.response.status_code"] == told(call)["http.response.status_code"] == 200
    if headers:
        assert (trace_id, parent) == (TRACE, PARENT)
    sent = answer.json()["echo"]["headers"]
    assert sent["traceparent"].startswith(f"00-{trace_id}-{ids(call)[1]}-")
    assert is_sampled(sent["traceparent"])
    assert re.fullmatch(r"t=\d{10}\.\d{6}", sent["X-Request-Start"])


def test_another_makers_handler_gets_the_parent_that_the_gateway_names() -> None:
    traces, engine = Traces(), GivenTorchServe({"parrot": {"kind": "adopted"}})
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "Content-Type": "text/plain"}
    with engine.running(), gateway_for(engine, tracer=traces.tracer) as url:
        assert requests.post(f"{url}/models/parrot/predict", b"hi", headers=headers, timeout=30).status_code == 200
    assert engine.last is not None
    assert engine.last.headers["traceparent"].startswith(f"00-{TRACE}-{ids(traces.one('engine predict'))[1]}-")


def test_unsampled_request_stays_unsampled(engine: Engine) -> None:
    traces = Traces(ParentBased(ALWAYS_OFF))
    with gateway_for(engine, tracer=traces.tracer) as url:
        answer = requests.post(f"{url}/models/digits/predict", data=PICTURE, timeout=30)
    sent = answer.json()["echo"]["headers"]
    assert not is_sampled(sent["traceparent"])
    assert "X-Request-Start" not in sent
    assert traces.named("engine predict") == []


def test_failed_request_is_failed_span_and_unknown_path_no_name(engine: Engine) -> None:
    traces = Traces()
    with gateway_for(engine, "engine.inference_port=1", tracer=traces.tracer) as url:
        assert requests.post(f"{url}/models/digits/predict", data=PICTURE, timeout=30).status_code == 503
        assert requests.get(f"{url}/made/up/{TRACE}", timeout=30).status_code == 404
    whole, call = traces.one("POST /models/{model}/predict"), traces.one("engine predict")
    assert not whole.status.is_ok
    assert (call.status.is_ok, call.status.description) == (False, "ConnectFailedError")
    assert told(traces.one("GET"))["http.response.status_code"] == 404


class CallingEngine(GivenEngine):
    """Answers through a call that is traced, as the upstream does."""

    def __init__(self, traces: Traces) -> None:
        super().__init__()
        self._tracer = traces.tracer

    async def predict(self, request: PredictionRequest) -> EngineResponse:
        with self._tracer.call(request.model, request.version, {}) as span:
            answer = await super().predict(request)
            span.answered(200, "queue;dur=1.5, inference;dur=0.250")
        return answer


def lane(engine: GivenEngine, traces: Traces) -> Coalescer:
    settings = CoalesceSettings(enabled=True, max_batch=8, max_delay_ms=1000)
    reader = reader_for(CARD)
    return Coalescer(engine, settings, lambda *_: reader, Metrics(), traces.tracer)


async def client(traces: Traces, lanes: Coalescer, number: float) -> str | None:
    """One request from the edge on; returns the trace that its log lines name."""
    exchange = RequestContext(f"r{number}", 0.0)
    with traces.tracer.request("POST", exchange) as span:
        await lanes.predict(request([number, 0, 0, 0], request_id=exchange.request_id))
        span.answered(exchange, 200)
    return current_trace_id.get()


@pytest.mark.anyio
async def test_coalesced_requests_each_have_a_span() -> None:
    traces = Traces()
    lanes = lane(CallingEngine(traces), traces)
    logged = await asyncio.gather(*(client(traces, lanes, number) for number in range(3)))
    call, spans = traces.one("engine predict"), traces.named("coalesced")
    assert sorted(ids(span)[0] for span in spans) == sorted(str(each) for each in logged)
    [leader] = [span for span in spans if ids(span)[1] == ids(call)[2]]
    others = [span for span in spans if span is not leader]
    requests_of = {ids(span)[1]: span for span in traces.named("POST")}
    assert {requests_of[str(ids(span)[2])].name for span in spans} == {"POST"}
    assert {f"{link.context.trace_id:032x}" for link in leader.links} == {ids(span)[0] for span in others}
    assert [[link.context for link in other.links] for other in others] == [[leader.context]] * 2
    for span in spans:
        assert told(span) == {
            "marina.coalesced.size": 3,
            "marina.worker.queue_ms": 1.5,
            "marina.worker.inference_ms": 0.25,
        }


@pytest.mark.anyio
async def test_coalesced_request_sent_again_has_its_own_trace() -> None:
    traces = Traces()
    engine = CallingEngine(traces)
    engine.fail = lambda one: InvalidFields("no") if b"instances" in one.body else None
    lanes = lane(engine, traces)
    logged = await asyncio.gather(*(client(traces, lanes, number) for number in range(2)))
    assert [span.status.description for span in traces.named("coalesced")] == ["InvalidFields"] * 2
    whole = {ids(span)[1]: ids(span)[0] for span in traces.named("POST")}
    alone = [ids(span) for span in traces.named("engine predict") if ids(span)[2] in whole]
    assert {trace_id for trace_id, _, _ in alone} == set(logged)
    assert all(whole[str(parent)] == trace_id for trace_id, _, parent in alone)


@pytest.mark.anyio
async def test_coalesced_call_belongs_to_first_traced_request() -> None:
    traces = Traces(ParentBased(ALWAYS_OFF))
    lanes = lane(CallingEngine(traces), traces)

    async def sampled() -> None:
        exchange = RequestContext("r", 0.0, headers=[(b"traceparent", f"00-{TRACE}-{PARENT}-01".encode())])
        with traces.tracer.request("POST", exchange):
            await lanes.predict(request([1, 0, 0, 0]))

    await asyncio.gather(client(traces, lanes, 0), sampled())
    assert ids(traces.one("coalesced"))[0] == ids(traces.one("engine predict"))[0] == TRACE


def test_tracer_off_imports_no_library() -> None:
    program = "import sys, app; print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_tracer_empty_endpoint_is_none() -> None:
    assert load(["gateway.tracing.endpoint=''"]).gateway.tracing.endpoint is None


def test_log_line_outside_request_has_no_trace_id() -> None:
    assert contextvars.Context().run(current_trace_id.get) is None
