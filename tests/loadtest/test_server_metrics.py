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
async def test_server_side_adds_versions_and_means_cover_run_only() -> None:
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
async def test_server_side_unreadable_gateway_is_unknown_with_reason() -> None:
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
async def test_server_counters_restarted_server_counts_from_zero() -> None:
    with serving() as engine, serving() as gateway:
        found = await counted(engine, gateway, AFTER, BEFORE)
    assert found.gateway is not None
    assert found.gateway["marina_gateway_request_seconds_count", "digits"] == 1


def test_server_side_without_counters_is_none() -> None:
    assert server_side("digits", ServerGrowth(None, None, ()), TORCHSERVE) is None


@pytest.mark.parametrize(
    ("facts", "name"),
    [(TORCHSERVE, "TorchServe's queue"), (profiles.RAY, "Ray Serve's queue"), (None, "the engine's queue")],
)
def test_stage_times_queue_has_engine_title(facts: EngineProfile | None, name: str) -> None:
    stages = dict.fromkeys(("gateway", "gateway_queue", "queue", "inference", "decode", "forward", "post"), 2.0)
    side = server_side("digits", ServerGrowth({}, {}, ()), facts)
    assert side is not None
    assert name in dict(stage_times(stages, side.engine))
