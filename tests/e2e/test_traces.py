"""One trace a request, from the client's `traceparent` to the stages of the worker, told to a real collector."""

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.conftest import ENGINE, Stack, new_stack
from tests.e2e.test_logs import json_lines
from tests.observability.collector import Collector, Span
from tests.polling import wait_for

pytestmark = pytest.mark.e2e
STATE = {"cart_position": 0.0, "cart_velocity": 0.0, "pole_angle": 0.1, "pole_angular_velocity": 0.5}
GATEWAY, WORKER = "marina-gateway", "marina-worker"


@dataclass(frozen=True)
class Traced:
    """A stack whose gateway and workers send their spans to a collector in this process."""

    stack: Stack
    collector: Collector

    def ask(self, body: Any, **headers: str) -> requests.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(f"{self.stack.gateway}/predict", json=body, headers=named, timeout=60)

    def log(self, part: str) -> list[dict[str, Any]]:
        """What a part has written."""
        return json_lines(self.stack, part)


@pytest.fixture(scope="module")
def traced(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    stack = new_stack(tmp_path_factory.mktemp("traced"), archives)
    wide = ["gateway.access_log=true", "gateway.deadline_ms=60000", "gateway.admission.max_wait_ms=60000"]
    wide += ["rollout.watch_s=0.1", "store=local"]
    collector = Collector()
    collector.start()
    stack.env["MARINA_TRACES_ENDPOINT"] = collector.url
    try:
        stack.run("-m", "stack", "up", *wide)
        stack.run("upload_model.py", "served_model=cartpole", *wide)
        yield Traced(stack, collector)
    finally:
        stack.run("-m", "stack", "down")
        collector.stop()


def parent_of_nobody(sampled: str) -> tuple[str, str]:
    """A trace id, and the header of a client that has begun this trace."""
    trace_id = secrets.token_hex(16)
    return trace_id, f"00-{trace_id}-{secrets.token_hex(8)}-{sampled}"


def whole(traced: Traced, trace_id: str) -> dict[str, Span]:
    """The spans of a trace by name, once those of gateway and worker are there."""
    ends = {"POST /predict", "worker", "postprocess"}
    traced.collector.wait_for(lambda _: {span.name for span in traced.collector.trace(trace_id)} >= ends)
    spans = traced.collector.trace(trace_id)
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def test_a_request_is_one_trace_from_the_client_to_the_stages_of_the_worker(traced: Traced) -> None:
    trace_id, traceparent = parent_of_nobody("01")
    answer = traced.ask(STATE, traceparent=traceparent, X_Request_Id="order-66")
    assert answer.status_code == 200
    spans = whole(traced, trace_id)
    stages = {"queue", "preprocess", "inference", "postprocess"}
    assert set(spans) == {"POST /predict", "engine predict", "worker"} | stages
    parents = {name: span.parent_id for name, span in spans.items()}
    assert parents.pop("POST /predict") == traceparent.split("-")[2]
    assert parents.pop("engine predict") == spans["POST /predict"].span_id
    assert parents.pop("worker") == parents.pop("queue") == spans["engine predict"].span_id
    assert set(parents.values()) == {spans["worker"].span_id}
    assert {span.service for name, span in spans.items() if name in stages | {"worker"}} == {WORKER}
    assert {spans[name].service for name in ("POST /predict", "engine predict")} == {GATEWAY}
    # One machine, one clock: each span lies within the one above it, and the stages follow each other.
    assert spans["POST /predict"].start <= spans["engine predict"].start <= spans["queue"].start + 1000
    assert spans["queue"].end == spans["worker"].start == spans["preprocess"].start
    assert spans["preprocess"].end == spans["inference"].start
    assert spans["inference"].end == spans["postprocess"].start
    assert spans["postprocess"].end == spans["worker"].end <= spans["engine predict"].end
    told = spans["worker"].attributes
    assert (told["marina.model"], told["marina.batch.size"]) == ("cartpole", 1)
    assert told["marina.version"] == answer.headers["x-model-version"]
    assert told["marina.request_id"] == spans["POST /predict"].attributes["marina.request_id"] == "order-66"
    assert {span.attributes.get("http.response.status_code", 200) for span in spans.values()} == {200}
    assert not any(span.failed for span in spans.values())


def test_a_client_that_samples_nothing_is_followed(traced: Traced) -> None:
    (silent, unsampled), (told, sampled) = parent_of_nobody("00"), parent_of_nobody("01")
    assert traced.ask(STATE, traceparent=unsampled).status_code == 200
    assert traced.ask(STATE, traceparent=sampled).status_code == 200
    # Both processes send in the order in which spans end, so what is not there by now is not coming.
    whole(traced, told)
    assert traced.collector.trace(silent) == []


def test_a_refused_request_has_one_id_in_both_logs_and_a_status_in_its_spans(traced: Traced) -> None:
    trace_id, traceparent = parent_of_nobody("01")
    answer = traced.ask({**STATE, "pole_angle": "steep"}, traceparent=traceparent, X_Request_Id="refused-1")
    assert answer.status_code == 422
    spans = whole(traced, trace_id)
    assert spans["worker"].failed
    assert spans["worker"].message == spans["worker"].attributes["error.type"] == "invalid_fields"
    assert spans["engine predict"].failed
    assert not spans["POST /predict"].failed  # the client's own fault
    statuses = {spans[name].attributes["http.response.status_code"] for name in ("POST /predict", "worker")}
    assert statuses == {422}
    ids = {"request_id": "refused-1", "trace_id": trace_id}

    def lines(part: str) -> list[dict[str, Any]]:
        return [line for line in traced.log(part) if ids.items() <= line.items()]

    wait_for(lambda: bool(lines("gateway") and lines(ENGINE.part)))
    [by_gateway], [by_worker] = lines("gateway"), lines(ENGINE.part)
    assert (by_gateway["event"], by_gateway["status"]) == ("request", 422)
    assert (by_worker["event"], by_worker["status"], by_worker["code"]) == ("request_failed", 422, "invalid_fields")
    assert (by_worker["model"], by_worker["version"]) == ("cartpole", spans["worker"].attributes["marina.version"])


def test_observations_that_share_a_call_are_linked_and_each_trace_shows_what_it_took(traced: Traced) -> None:
    def ask(number: int) -> int:
        return traced.ask(STATE | {"cart_position": number / 1000}).status_code

    def asked_until_shared() -> bool:
        with ThreadPoolExecutor(16) as pool:
            assert set(pool.map(ask, range(64))) == {200}
        return any(span.name == "coalesced" for span in list(traced.collector.spans))

    wait_for(asked_until_shared)
    found = rides(traced.collector.wait_for(lambda spans: all(ride.is_whole for ride in rides(spans))))
    assert found
    for ride in found:
        [call] = ride.calls
        for member, request in zip([ride.leader, *ride.others], ride.requests, strict=True):
            assert request.name == "POST /predict"
            assert request.start <= member.start <= call.start <= call.end <= member.end <= request.end
            assert member.attributes["marina.worker.inference_ms"] == call.attributes["marina.worker.inference_ms"]
        assert len({request.trace_id for request in ride.requests}) == ride.size
        # Links lead across: from the first to the requests of the others, from theirs to it.
        assert set(ride.leader.links) == {request.id for request in ride.requests[1:]}


@dataclass(frozen=True)
class Ride:
    """What observations had in common that shared one call."""

    leader: Span
    others: list[Span]
    requests: list[Span]
    calls: list[Span]

    @property
    def size(self) -> int:
        return int(self.leader.attributes["marina.coalesced.size"])

    @property
    def is_whole(self) -> bool:
        """Whether all of it has come: a parcel of spans may hold a part of a ride."""
        return len(self.calls) == 1 and len(self.requests) == len(self.others) + 1 == self.size


def rides(spans: list[Span]) -> list[Ride]:
    """Each ride that has begun to come; a member whose leader has not is one of its own, and not whole."""
    by_id = {span.id: span for span in spans}
    shared = [span for span in spans if span.name == "coalesced"]
    follows = {
        span.id: span.links[0]
        for span in shared
        if len(span.links) == 1 and by_id.get(span.links[0], span).name == "coalesced" and span.links[0] in by_id
    }
    found = []
    for leader in (span for span in shared if span.id not in follows):
        others = [span for span in shared if follows.get(span.id) == leader.id]
        parents = [(span.trace_id, span.parent_id) for span in (leader, *others)]
        calls = [span for span in spans if (span.trace_id, span.parent_id) == leader.id]
        found.append(Ride(leader, others, [by_id[parent] for parent in parents if parent in by_id], calls))
    return found


def test_a_collector_that_is_away_costs_no_answer_and_gets_what_comes_later(traced: Traced) -> None:
    traced.collector.stop()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: traced.ask(STATE), range(64)))
    assert {answer.status_code for answer in answers} == {200}
    exporters = [line["logger"] for part in ("gateway", ENGINE.part) for line in traced.log(part)]
    # Both have said by now, or say yet, that nobody takes their spans; neither does at each attempt.
    assert sum("opentelemetry" in name for name in exporters) <= 4
    traced.collector.start()
    trace_id, traceparent = parent_of_nobody("01")
    assert traced.ask(STATE, traceparent=traceparent).status_code == 200
    assert len(whole(traced, trace_id)) == 7
