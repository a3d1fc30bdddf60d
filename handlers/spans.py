"""Spans of a worker, by OpenTelemetry, drawn after a batch is answered from what its stages took.

In the trace of each request of the batch, below the call that brought it:

    call to the engine ─┬─ queue        from X-Request-Start until the worker had the batch, where that header came
                        └─ worker ──┬── preprocess
                                    ├── inference
                                    └── postprocess

The stages are the whole batch's: that is how long each of its requests took, too. They also go back as `Server-Timing`,
for clients that share one call.
"""

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBased
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from handlers.batch import Forwarded
from handlers.errors import RequestError

logger = logging.getLogger(__name__)

SERVICE = "marina-worker"
START = "x-request-start"
_UNSAMPLED = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f][02468ace]")
_PARENTS = ("traceparent", "tracestate")
# Seconds since 1970, as proxies write them. What lies an hour back, or ahead, is another clock's.
_SENT = re.compile(r"(?:t=)?(\d{10})\.(\d{1,9})")
LONGEST_QUEUE_NS = 3600 * 10**9


Stage = tuple[str, int, int]
"""Name, start and end; both in nanoseconds since 1970."""


@dataclass(frozen=True)
class Stages:
    """When a batch was at which stage, in nanoseconds since 1970."""

    begun: int
    read: int
    forwarded: int
    answered: int

    @classmethod
    def until(cls, answered: int, forwarded: Forwarded, whole_s: float) -> "Stages":
        """From what each stage took, back from the end."""
        begun = answered - round(whole_s * 1e9)
        read = begun + round(forwarded.decode_s * 1e9)
        return cls(begun, read, min(answered, read + round(forwarded.forward_s * 1e9)), answered)

    def named(self) -> tuple[Stage, ...]:
        """Return them one by one."""
        return (
            ("preprocess", self.begun, self.read),
            ("inference", self.read, self.forwarded),
            ("postprocess", self.forwarded, self.answered),
        )


class Spans:
    """Draws the spans of one worker's batches."""

    def __init__(self, provider: TracerProvider, model: str, version: str) -> None:
        self._tracer = provider.get_tracer(SERVICE)
        self._follows = isinstance(provider.sampler, ParentBased)
        self._parent = TraceContextTextMapPropagator()
        self._model = model
        self._version = version

    def batch(self, context: Any, forwarded: Forwarded, whole_s: float) -> None:
        """Draw every request of a batch that has just been answered in `whole_s` seconds; raises nothing."""
        stages = Stages.until(time.time_ns(), forwarded, whole_s)
        try:
            for index, outcome in enumerate(forwarded.requests):
                self._request(context, index, outcome, stages, len(forwarded.requests))
        except Exception:
            # An edge: the answers are there, and no fault of a trace may cost one of them.
            logger.exception("tracing_failed")

    def _request(self, context: Any, index: int, outcome: object, stages: Stages, size: int) -> None:
        headers = {name.lower(): value for name, value in context.get_all_request_header(index).items()}
        if self._follows and _UNSAMPLED.fullmatch(str(headers.get("traceparent", ""))):
            return  # as the library would find out as well, for many times the time
        parent = self._parent.extract({name: headers[name] for name in _PARENTS if name in headers})
        span = self._tracer.start_span("worker", parent, SpanKind.SERVER, start_time=stages.begun)
        if not span.is_recording():
            return
        status, _ = context.get_response_status(index)
        span.set_attributes(
            {
                "marina.model": self._model,
                "marina.version": self._version,
                "marina.batch.size": size,
                "marina.request_id": str(headers.get("x-request-id", "")),
                "http.response.status_code": status,
            }
        )
        if status >= 400:
            error = outcome.code if isinstance(outcome, RequestError) else "internal"
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR, error))
        took = self._below(span, parent, headers, stages)
        span.end(stages.answered)
        timing = ", ".join(f"{name};dur={(end - start) / 1e6:.3f}" for name, start, end in took)
        context.set_response_header(index, "server-timing", timing)

    def _below(self, span: Span, parent: Context, headers: Mapping[str, Any], stages: Stages) -> list[Stage]:
        """Draw the stages of one request, and the queue before them where it is known; return what was drawn."""
        below = set_span_in_context(span)
        took: list[Stage] = []
        if (sent := _sent(headers, stages.begun)) is not None:
            took.append(("queue", sent, stages.begun))
            if get_current_span(parent).get_span_context().is_valid:  # else it would be a trace of its own
                self._tracer.start_span("queue", parent, start_time=sent).end(stages.begun)
        for name, start, end in stages.named():
            took.append((name, start, end))
            self._tracer.start_span(name, below, start_time=start).end(end)
        return took


def _sent(headers: Mapping[str, Any], begun: int) -> int | None:
    """When a request was sent, in nanoseconds since 1970; None where nobody says, or what cannot be."""
    found = _SENT.fullmatch(str(headers.get(START, "")))
    if found is None:
        return None
    sent = int(found[1]) * 10**9 + int(found[2].ljust(9, "0"))
    return sent if 0 <= begun - sent <= LONGEST_QUEUE_NS else None
