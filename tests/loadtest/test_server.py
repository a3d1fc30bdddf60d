import pytest

from engines import profiles
from engines.engine_profile import EngineProfile
from engines.profiles import TORCHSERVE
from loadtest.server_metrics import ServerCounters, ServerGrowth, server_side, stage_times
from tests.figures import FiguresServer, serving

ENGINE = """# TYPE ts_inference_requests_total counter
ts_inference_requests_total{model_name="digits",model_version="1.0",hostname="x",} %d.0
ts_inference_requests_total{model_name="digits",model_version="default",hostname="x",} %d.0
# TYPE ts_queue_latency_microseconds counter
ts_queue_latency_microseconds{model_name="digits",model_version="default",hostname="x",} %d.0
# TYPE handler_batch_fill_ratio histogram
handler_batch_fill_ratio_bucket{ModelName="digits",ModelVersion="1.0",Level="Model",Hostname="x",le="+Inf",} %d.0
handler_batch_fill_ratio_count{ModelName="digits",ModelVersion="1.0",Level="Model",Hostname="x",} %d.0
handler_batch_fill_ratio_sum{ModelName="digits",ModelVersion="1.0",Level="Model",Hostname="x",} %d.0
"""


GATEWAY = """# TYPE marina_gateway_request_seconds histogram
marina_gateway_request_seconds_count{model="digits",route="p",status="200"} %d.0
marina_gateway_request_seconds_sum{model="digits",route="p",status="200"} %d.0
"""


async def counted(engine: FiguresServer, gateway: FiguresServer, *texts: tuple[str, str]) -> ServerGrowth:
    """What was counted while both servers went from one text to the other."""
    servers = ServerCounters(gateway.url, {"x-api-key": "k"}, f"{engine.url}/metrics")
    engine.text, gateway.text = texts[0]
    before = await servers.read()
    engine.text, gateway.text = texts[1]
    return await servers.since(before)


BEFORE, AFTER = (
    (ENGINE % (1, 9, 9000, 5, 5, 5), GATEWAY % (1, 1)),
    (ENGINE % (11, 99, 409_000, 30, 30, 20), GATEWAY % (5, 3)),
)


@pytest.mark.anyio
async def test_versions_are_added_up_and_means_are_of_the_run_alone() -> None:
    with serving() as engine, serving() as gateway:
        found = await counted(engine, gateway, BEFORE, AFTER)
        side = server_side("digits", found, TORCHSERVE)
        assert gateway.asked[0]["x-api-key"] == "k"
        assert "x-api-key" not in engine.asked[0]
    assert side is not None
    assert side.stages.queue == pytest.approx(4.0)
    assert side.batches.requests_per_batch == 4.0
    assert side.batches.fill == pytest.approx(15 / 25)
    assert side.stages.gateway == 500
    assert side.events == {"shed": 0, "retries": 0, "joined": 0}
    assert found.unread == ()


@pytest.mark.anyio
async def test_a_gateway_that_cannot_be_read_has_counted_nothing_and_the_report_says_why() -> None:
    with serving() as engine, serving() as gateway:
        gateway.status = 401
        found = await counted(engine, gateway, BEFORE, AFTER)
        side = server_side("digits", found, TORCHSERVE)
    assert side is not None
    assert (side.stages.gateway, side.events) == (None, {})
    assert side.stages.queue == pytest.approx(4.0)
    [reason] = found.unread
    assert "answers 401" in reason


@pytest.mark.anyio
async def test_a_server_that_was_started_anew_counts_from_nought() -> None:
    with serving() as engine, serving() as gateway:
        found = await counted(engine, gateway, AFTER, BEFORE)
    assert found.gateway is not None
    assert found.gateway["marina_gateway_request_seconds_count", "digits"] == 1


def test_servers_that_tell_nothing_have_no_side() -> None:
    assert server_side("digits", ServerGrowth(None, None, ()), TORCHSERVE) is None


@pytest.mark.parametrize(
    ("facts", "name"),
    [(TORCHSERVE, "TorchServe's queue"), (profiles.RAY, "Ray Serve's queue"), (None, "the engine's queue")],
)
def test_the_queue_is_the_one_of_the_engine_that_was_under_load(facts: EngineProfile | None, name: str) -> None:
    stages = dict.fromkeys(("gateway", "gateway_queue", "queue", "inference", "decode", "forward", "post"), 2.0)
    side = server_side("digits", ServerGrowth({}, {}, ()), facts)
    assert side is not None
    assert name in dict(stage_times(stages, side.engine))
