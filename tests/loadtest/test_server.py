import pytest

from engines.torchserve.engine import FACTS
from loadtest.scrape import grown, parse
from loadtest.server import server_side

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


def test_versions_are_added_up_and_means_are_of_the_run_alone() -> None:
    growth = grown(parse(ENGINE % (1, 9, 9000, 5, 5, 5)), parse(ENGINE % (11, 99, 409_000, 30, 30, 20)))
    side = server_side("digits", None, growth, FACTS.metrics)
    assert side is not None
    assert side.stages.queue == pytest.approx(4.0)
    assert side.batches.requests_per_batch == 4.0
    assert side.batches.fill == pytest.approx(15 / 25)
    assert side.stages.gateway is None


def test_a_server_that_was_started_anew_counts_from_nought() -> None:
    assert grown({("a", "m"): 100.0}, {("a", "m"): 7.0}) == {("a", "m"): 7.0}


@pytest.mark.parametrize("text", ["<html>no metrics</html>", 'a{b="', "\x00\x01"])
def test_what_is_not_metrics_is_nothing(text: str) -> None:
    assert parse(text) is None


def test_servers_that_tell_nothing_have_no_side() -> None:
    assert server_side("digits", None, None, FACTS.metrics) is None
