"""A Frontend's counts under TorchServe's metric names, as Prometheus and this project's reader understand them."""

import prometheus
from engines.python.frontend_metrics import Counts, exposition, merge_reports

LABELS = (("ModelName", "digits"), ("Level", "Model"))
DIGITS = ("digits", "1.0")


def counts(*statuses: int) -> Counts:
    made = Counts()
    made.add(statuses, [0.25] * len(statuses), 0.5, [("handler_decode_seconds", "histogram", LABELS, 0.03)])
    made.add([], [], 0.0, [("handler_items", "counter", LABELS, 2.0), ("HandlerTime", "gauge", LABELS, 7.5)])
    return made


def report(*statuses: int, inside: int = 1) -> dict[tuple[str, str], dict[str, object]]:
    return {DIGITS: {"inside": inside, "counts": counts(*statuses).as_values()}}


def test_exposition_has_torchserves_names_and_types() -> None:
    text = exposition(report(200, 200, 503)).decode()
    types = dict(line.split(" ")[2:] for line in text.splitlines() if line.startswith("# TYPE"))
    assert types == {
        "ts_inference_requests_total": "counter",
        "ts_inference_latency_microseconds": "counter",
        "ts_queue_latency_microseconds": "counter",
        "marina_ray_batches_total": "counter",
        "marina_ray_workers_lost_total": "counter",
        "marina_ray_requests_inside": "gauge",
        "HandlerTime": "gauge",
        "handler_items": "counter",
        "handler_decode_seconds": "histogram",
        "Requests2XX": "counter",
        "Requests4XX": "counter",
        "Requests5XX": "counter",
    }


def test_exposition_is_read_back_as_it_was_counted() -> None:
    reading = prometheus.parse(exposition(report(200, 200, 503)).decode())
    digits = {"model_name": "digits", "model_version": "1.0"}
    assert prometheus.total(reading.counters, "ts_inference_requests_total", **digits) == 3
    assert prometheus.total(reading.counters, "ts_inference_latency_microseconds_total", **digits) == 1.5e6
    assert prometheus.total(reading.counters, "ts_queue_latency_microseconds_total", **digits) == 0.75e6
    assert prometheus.total(reading.counters, "Requests2XX_total", Level="Host") == 2
    assert prometheus.total(reading.counters, "Requests5XX_total", Level="Host") == 1
    assert prometheus.total(reading.gauges, "marina_ray_requests_inside", **digits) == 1
    assert prometheus.total(reading.gauges, "HandlerTime", ModelName="digits") == 7.5
    buckets = {
        labels["le"]: value for labels, value in prometheus.samples(reading.counters, "handler_decode_seconds_bucket")
    }
    assert (buckets["0.025"], buckets["0.05"], buckets["+Inf"]) == (0, 1, 1)


def test_label_values_are_escaped() -> None:
    made = Counts()
    made.add([200], [0.0], 0.0, [("HandlerTime", "gauge", (("ModelName", 'a"b\\c\n'),), 1.0)])
    text = exposition({DIGITS: {"inside": 0, "counts": made.as_values()}}).decode()
    assert r'ModelName="a\"b\\c\n"' in text


def test_reports_of_several_frontends_are_added_up() -> None:
    merged = merge_reports([report(200, inside=2), report(200, 404, inside=3), {("other", "1.0"): report()[DIGITS]}])
    assert set(merged) == {DIGITS, ("other", "1.0")}
    assert merged[DIGITS]["inside"] == 5
    added = merged[DIGITS]["counts"]
    assert (added["statuses"], added["batches"], added["inference_s"]) == ({200: 2, 404: 1}, 4, 1.5)
    assert added["counters"] == {("handler_items", LABELS): 4.0}
    assert added["gauges"] == {("HandlerTime", LABELS): 7.5}
    [(buckets, total)] = added["histograms"].values()
    assert (sum(buckets), total) == (2, 0.06)


def test_nothing_is_exposed_before_the_first_registration() -> None:
    assert exposition({}) == b""
