"""One trace across the gateway and the engine call, and none when it is off."""

import subprocess
import sys

import pytest
import requests
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.samples import PICTURE
from gateway.tracing import OpenTelemetry
from tests.gateway.engine import Engine
from tests.gateway.served import gateway_for

TRACE = "0af7651916cd43dd8448eb211c80319c"


def spans_of(engine: Engine, headers: dict[str, str]) -> dict[str, ReadableSpan]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with gateway_for(engine, tracer=OpenTelemetry(provider)) as url:
        answer = requests.post(f"{url}/models/digits/predict", data=PICTURE, headers=headers, timeout=30)
        assert answer.status_code == 200
    return {span.name: span for span in exporter.get_finished_spans()}


@pytest.mark.parametrize("headers", [{}, {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}])
def test_a_request_is_one_trace_with_a_span_for_the_engines_call(engine: Engine, headers: dict[str, str]) -> None:
    spans = spans_of(engine, {**headers, "X-Request-Id": "order-66"})
    whole, call = spans["POST /models/digits/predict"], spans["engine predict"]
    assert whole.context is not None
    assert call.context is not None
    assert call.parent is not None
    assert call.context.trace_id == whole.context.trace_id
    assert call.parent.span_id == whole.context.span_id
    assert whole.attributes is not None
    assert whole.attributes["marina.request_id"] == "order-66"
    if headers:
        assert f"{whole.context.trace_id:032x}" == TRACE


def test_without_tracing_nothing_of_it_is_imported() -> None:
    program = "import sys, app; print([m for m in sys.modules if m.startswith('opentelemetry.sdk') or m == 'limits'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
