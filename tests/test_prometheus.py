"""Figures are read whole or not at all, from every gateway, with the key that each of them wants."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import prometheus
from errors import ConfigError, MetricsError
from gateway.metrics import Metrics
from prometheus import BLIND_S, CounterGrowth, GatewayMetrics, addresses, parse, read, samples, total
from settings import load
from tests.figures import CUT, HUNG_UP, SILENT, FiguresServer, calls, figures, serving
from tests.ports import free_port

CALLS = "marina_gateway_upstream_seconds_count"


@pytest.fixture
def server() -> Iterator[FiguresServer]:
    with serving(calls(10, 1)) as started:
        yield started


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("status", "words", "passing"),
    [
        (401, "set MARINA_API_KEY_FILE or MARINA_API_KEY to a key that the gateway knows", False),
        (403, "answers 403 (no entry)", False),
        (404, "answers 404 (no entry)", False),
        (302, "answers 302 (no entry)", False),
        (204, "answers 204", False),
        (429, "answers 429 (no entry)", True),
        (500, "answers 500 (no entry)", True),
        (503, "answers 503 (no entry)", True),
    ],
)
def test_read_status_other_than_200_is_an_error(server: FiguresServer, status: int, words: str, passing: bool) -> None:
    server.status, server.text = status, "" if status == 204 else '{"error": "x", "detail": "no entry"}'
    with pytest.raises(MetricsError) as raised:
        read(f"{server.url}/metrics")
    assert words in str(raised.value)
    assert f"{server.url}/metrics" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert raised.value.passing is passing


@pytest.mark.parametrize(
    ("trouble", "words"),
    [(CUT, "was cut short"), (SILENT, "did not answer within 0.2 s"), (HUNG_UP, "does not answer (")],
)
def test_read_answer_that_does_not_come_whole_is_an_error(
    server: FiguresServer, monkeypatch: pytest.MonkeyPatch, trouble: str, words: str
) -> None:
    server.trouble = trouble
    monkeypatch.setattr(prometheus, "TIMEOUT_S", 0.2)
    with pytest.raises(MetricsError) as raised:
        read(f"{server.url}/metrics")
    assert words in str(raised.value)
    assert raised.value.passing


def test_read_nobody_listens_is_an_error() -> None:
    with pytest.raises(MetricsError, match=r"does not answer \(connection refused\)") as raised:
        read(f"http://127.0.0.1:{free_port()}/metrics")
    assert raised.value.passing


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html>It works!</html>\n",
        "no metrics\n",
        'a{b="\n',
        "\x00\x01\n",
        "# TYPE a counter\na_total 1\na_total{b=",
        "# TYPE a_total counter\na_total NaN\n",
        "# TYPE a_total counter\na_total +Inf\n",
        "# TYPE a counter\na_total -1\n",
        "# TYPE a histogram\na_count NaN\n",
    ],
)
def test_read_text_that_is_no_figures_is_an_error(server: FiguresServer, text: str) -> None:
    server.text = text
    with pytest.raises(MetricsError, match="answers, but not with metrics") as raised:
        read(f"{server.url}/metrics")
    assert not raised.value.passing


def test_read_goes_past_every_proxy(server: FiguresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("no_proxy", "")
    assert total(read(f"{server.url}/metrics").counters, CALLS, model="digits") == 11


def test_parse_gateways_own_text_has_counters_histograms_and_gauges() -> None:
    metrics = Metrics()
    metrics.upstream("digits", "200", 0.25)
    metrics.shed("digits")
    metrics.breaker("digits", "open")
    found = parse(metrics.text().decode())
    assert total(found.counters, CALLS, model="digits", status="200") == 1
    assert total(found.counters, "marina_gateway_upstream_seconds_sum", model="digits") == 0.25
    assert total(found.counters, "marina_gateway_shed_total", model="digits") == 1
    assert total(found.gauges, "marina_gateway_breaker_state", model="digits") == 2
    assert any(samples(found.gauges, prometheus.PRESENT))
    assert total(found.counters, CALLS, model="cartpole") == 0


def growth(*texts: str) -> CounterGrowth:
    found = CounterGrowth()
    for text in texts:
        found.take("a", parse(text))
    return found


def test_growth_counts_from_the_first_reading_of_each_server() -> None:
    found = growth(calls(10, 1), calls(15, 1), calls(18, 3))
    assert (total(found.counted, CALLS, status="200"), total(found.counted, CALLS, status="503")) == (8, 2)
    found.take("b", parse(calls(100, 50)))
    found.take("b", parse(calls(101, 50)))
    assert total(found.counted, CALLS) == 11
    assert found.restarts == 0


@pytest.mark.parametrize(
    "after",
    [calls(4, 2), calls(4, 2, started=9), figures({"digits": "1.0"}) + "# TYPE x counter\nx_total 6\n"],
    ids=["counters fell", "it was started later", "a series is gone"],
)
def test_growth_of_a_restarted_server_begins_at_zero(after: str) -> None:
    found = growth(calls(10, 0), calls(12, 0), after)
    assert found.restarts == 1
    assert sum(found.counted.values()) == 2 + 6


def test_growth_after_restart_is_whole_count() -> None:
    found = growth(calls(10, 0), calls(30, 0, started=2))
    assert (total(found.counted, CALLS), found.restarts) == (30, 1)


def test_look_first_that_fails_is_an_error_at_once(server: FiguresServer) -> None:
    server.status = 503
    with pytest.raises(MetricsError, match="answers 503"):
        GatewayMetrics(server.settings().gateway).look()


def test_look_failure_that_may_pass_is_borne_for_a_while(server: FiguresServer) -> None:
    clock = Clock()
    found = GatewayMetrics(server.settings().gateway, clock)
    assert found.look()
    server.status, clock.now = 503, BLIND_S
    assert not found.look()
    assert "answers 503" in found.trouble
    assert total(found.growth, CALLS) == 0
    server.status, server.text = 200, calls(11, 1)
    assert found.look()
    assert total(found.growth, CALLS) == 1
    server.status, clock.now = 503, 2 * BLIND_S + 0.1
    with pytest.raises(MetricsError, match="answers 503"):
        found.look()


def test_look_failure_that_will_not_pass_is_an_error_at_once(server: FiguresServer) -> None:
    found = GatewayMetrics(server.settings().gateway)
    assert found.look()
    server.status = 401
    with pytest.raises(MetricsError, match="MARINA_API_KEY"):
        found.look()


def test_look_server_that_is_no_gateway_is_an_error(server: FiguresServer) -> None:
    server.text = "# TYPE ts_inference_requests counter\nts_inference_requests_total 7\n"
    with pytest.raises(MetricsError, match="another server listens there"):
        GatewayMetrics(server.settings().gateway).look()


def test_look_sums_gateways_and_requires_all(server: FiguresServer) -> None:
    with serving(calls(5, 2)) as other:
        both = server.settings(f"gateway.instances=['127.0.0.1:{server.port}','localhost:{other.port}']")
        found = GatewayMetrics(both.gateway)
        assert found.look()
        assert total(found.counters, CALLS, status="200") == 15
        server.text, other.text = calls(12, 1), calls(6, 3)
        assert found.look()
        assert (total(found.growth, CALLS, status="200"), total(found.growth, CALLS, status="503")) == (3, 1)
        assert found.serves("digits")
        other.text = calls(7, 3, model="cartpole")
        assert found.look()
        assert not found.serves("digits")
        other.status = 401
        with pytest.raises(MetricsError, match=f"{other.port}/metrics answers 401"):
            found.look()


def test_addresses_name_stands_for_each_of_its_hosts_once() -> None:
    found = load(["gateway.instances=[localhost,'127.0.0.1:5013','[::1]']"]).gateway
    assert addresses(found) == ["http://127.0.0.1:5003", "http://127.0.0.1:5013", "http://[::1]:5003"]
    with pytest.raises(MetricsError, match=r"no-such-host\.invalid has no address"):
        addresses(load(["gateway.instances=[no-such-host.invalid]"]).gateway)


@pytest.mark.parametrize("wrong", ["http://a:1", "a/b", "a:x", ""])
def test_instances_that_are_no_host_are_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="gateway-pods"):
        load([f"gateway.instances=['{wrong}']"])


def test_key_is_sent_from_the_setting_or_its_file(server: FiguresServer, tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("marina_b\n")
    assert GatewayMetrics(server.settings("gateway.api_key=marina_a").gateway).look()
    assert GatewayMetrics(server.settings(f"gateway.api_key_file={path}").gateway).look()
    assert GatewayMetrics(server.settings().gateway).look()
    assert [each.get("X-Api-Key") for each in server.asked] == ["marina_a", "marina_b", None]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is not an API key"),
        (b"two words", "is not an API key"),
        (b"\xff\xfe", "cannot be read: it is not text"),
        ("schlüssel".encode(), "is not an API key"),
        (b"a\nb", "is not an API key"),
    ],
)
def test_key_file_that_holds_no_key_is_one_line(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        load([f"gateway.api_key_file={path}"]).gateway.key_headers()


def test_key_in_two_places_is_refused() -> None:
    with pytest.raises(ConfigError, match="not both"):
        load(["gateway.api_key=a", "gateway.api_key_file=b"])
