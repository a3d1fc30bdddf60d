"""The only reader of Prometheus' text format: metrics of gateways, engines and the edge, over HTTP.

    /metrics ──read──▶ MetricsReading ──┐
    /metrics ──read──▶ MetricsReading ──┴──▶ CounterGrowth: the growth of all servers' counters, across restarts

An unreadable answer raises MetricsError. It never counts as zero: a watcher without data must not report a service
without errors.
"""

import json
import math
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import responses
from urllib.parse import urlsplit

import requests
from prometheus_client.parser import text_string_to_metric_families

from errors import MetricsError
from settings.schema import GatewaySettings

TIMEOUT_S = 5.0  # until the last byte of one answer
LARGEST_BYTES = 64 << 20  # a thousand models have 5 MiB of metrics
# A restarted gateway is back within seconds; without metrics for longer, a version is not being watched.
BLIND_S = 12.0
# Every gateway has this metric, so text without it comes from another server.
PRESENT = "marina_gateway_requests_in_flight"
SERVED = "marina_gateway_model_serving"
STARTED = "process_start_time_seconds"
COUNTING = {"counter", "histogram", "summary"}
COUNTED = ("_total", "_bucket", "_count", "_sum")  # ends of the names of counters without a type
MAY_PASS = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}

Series = tuple[str, frozenset[tuple[str, str]]]
"""(name of a sample, its labels)."""


@dataclass(frozen=True)
class MetricsReading:
    """The samples of one server at one moment; histograms and summaries are counters."""

    counters: Mapping[Series, float]
    gauges: Mapping[Series, float]


def samples(figures: Mapping[Series, float], name: str, **labels: str) -> Iterator[tuple[Mapping[str, str], float]]:
    """Yield labels and value of each sample that has this name and these labels."""
    for (found, own), value in figures.items():
        if found == name and labels.items() <= own:
            yield dict(own), value


def total(figures: Mapping[Series, float], name: str, **labels: str) -> float:
    """Return the sum of these samples; zero when there is none."""
    return sum(value for _, value in samples(figures, name, **labels))


def read(url: str, headers: Mapping[str, str] | None = None) -> MetricsReading:
    """Read the metrics at `url`. Raises MetricsError, of one line, for any other answer and for none."""
    try:
        with requests.Session() as session:
            # No proxy, .netrc or redirect, so that no other server gets the key.
            session.trust_env = False
            sent = {"Connection": "close", **(headers or {})}
            with session.get(url, headers=sent, timeout=TIMEOUT_S, stream=True, allow_redirects=False) as answer:
                body = _body(url, answer)
    except requests.Timeout:
        raise MetricsError(f"{url} did not answer within {TIMEOUT_S:g} s", passing=True) from None
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
        raise MetricsError(f"{url}: the answer was cut short", passing=True) from None
    except requests.RequestException as error:
        raise MetricsError(f"{url} does not answer ({_cause(error)})", passing=True) from None
    if answer.status_code != HTTPStatus.OK:
        raise _refusal(url, answer.status_code, body)
    try:
        return parse(body.decode())
    except ValueError as error:
        raise MetricsError(f"{url} answers, but not with metrics: {error}") from None


def parse(text: str) -> MetricsReading:
    """Parse Prometheus' text format. Raises ValueError for other text, and for an impossible count."""
    counters: dict[Series, float] = {}
    gauges: dict[Series, float] = {}
    if not text.endswith("\n"):
        raise ValueError("the last line is cut off")
    try:
        families = list(text_string_to_metric_families(text))
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"this is not Prometheus' text format ({error})") from None
    for family in families:
        untyped = family.type in {"unknown", "untyped"}
        counting = family.type in COUNTING or (untyped and family.name.endswith(COUNTED))
        found = counters if counting else gauges
        for sample in family.samples:
            if found is counters and not 0 <= sample.value < math.inf:
                raise ValueError(f"{sample.name} counts {sample.value}")
            series = sample.name, frozenset(sample.labels.items())
            found[series] = found.get(series, 0.0) + sample.value
    return MetricsReading(counters, gauges)


@dataclass
class CounterGrowth:
    """The growth of each counter since the first reading, summed over all servers.

    A restarted server counts from zero; its growth between the last reading and its end is unknown.
    """

    counted: dict[Series, float] = field(default_factory=dict)
    restarts: int = 0
    _last: dict[str, MetricsReading] = field(default_factory=dict)

    def take(self, server: str, reading: MetricsReading) -> None:
        """Add a server's growth since its previous reading; the first reading adds nothing."""
        before = self._last.get(server)
        self._last[server] = reading
        if before is None:
            return
        known = before.counters
        if _restarted(before, reading):
            self.restarts += 1
            known = {}
        for series, value in reading.counters.items():
            self.counted[series] = self.counted.get(series, 0.0) + value - known.get(series, 0.0)


class GatewayMetrics:
    """The metrics of all gateways of a stack, read with the stack's key."""

    def __init__(self, gateway: GatewaySettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._gateway = gateway
        self._clock = clock
        self._seen: float | None = None
        self._growth = CounterGrowth()
        self.trouble = ""
        self.latest: Mapping[str, MetricsReading] = {}

    @property
    def growth(self) -> Mapping[Series, float]:
        """The growth of the counters since the first reading."""
        return self._growth.counted

    @property
    def restarts(self) -> int:
        """The number of restarts of gateways."""
        return self._growth.restarts

    @property
    def counters(self) -> Mapping[Series, float]:
        """The counters of the last reading, summed over the gateways."""
        added: dict[Series, float] = {}
        for reading in self.latest.values():
            for series, value in reading.counters.items():
                added[series] = added.get(series, 0.0) + value
        return added

    def look(self) -> bool:
        """Read every gateway once; return False, with the reason in `trouble`, for an error that may pass.

        Raises MetricsError for an error that will not pass or lasts longer than `BLIND_S`, and for a failed first
        reading.
        """
        try:
            latest = {address: self._read(address) for address in addresses(self._gateway)}
        except MetricsError as error:
            blind = self._seen is None or self._clock() - self._seen > BLIND_S
            if blind or not error.passing:
                raise
            self.trouble = str(error)
            return False
        for address, reading in latest.items():
            self._growth.take(address, reading)
        self.latest, self._seen = latest, self._clock()
        return True

    def serves(self, model: str) -> bool:
        """Return True when every gateway knew the model at the last reading."""
        return all(any(samples(reading.gauges, SERVED, model=model)) for reading in self.latest.values())

    def _read(self, address: str) -> MetricsReading:
        reading = read(f"{address}/metrics", self._gateway.key_headers())
        if not any(samples(reading.gauges, PRESENT)):
            raise MetricsError(f"{address}/metrics has no metrics of a gateway: another server listens there")
        return reading


def addresses(gateway: GatewaySettings) -> list[str]:
    """Return the base URL of every gateway. Raises MetricsError for a name without an address."""
    if not gateway.instances:
        return [gateway.url]
    found = []
    for instance in gateway.instances:
        parts = urlsplit(f"//{instance}")
        try:
            known = socket.getaddrinfo(parts.hostname, parts.port or gateway.port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise MetricsError(
                f"gateway.instances: {instance} has no address ({error.strerror})", passing=True
            ) from None
        # A gateway with addresses of both families must be counted once.
        family = min(kind for kind, *_ in known)
        hosts = sorted({(str(place[0]), int(place[1])) for kind, *_, place in known if kind == family})
        found += [f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}" for host, port in hosts]
    return found


def _body(url: str, answer: requests.Response) -> bytes:
    """Read the body, within the limits of time and size."""
    deadline, pieces, size = time.monotonic() + TIMEOUT_S, [], 0
    for piece in answer.iter_content(1 << 16):
        pieces.append(piece)
        size += len(piece)
        if time.monotonic() > deadline:
            raise requests.Timeout
        if size > LARGEST_BYTES:
            raise MetricsError(f"{url} answers with more than {LARGEST_BYTES >> 20} MiB")
    return b"".join(pieces)


def _refusal(url: str, status: int, body: bytes) -> MetricsError:
    try:
        detail = str(json.loads(body)["detail"])[:200]
    except (ValueError, LookupError, TypeError):
        detail = responses.get(status, "").lower()
    words = f"{url} answers {status} ({detail})" if detail else f"{url} answers {status}"
    if status == HTTPStatus.UNAUTHORIZED:
        words = f"{url} answers 401: set MARINA_API_KEY_FILE or MARINA_API_KEY to a key that the gateway knows"
    return MetricsError(words, passing=status >= 500 or status in MAY_PASS)


def _cause(error: BaseException) -> str:
    """Return the operating system's text for a failed connection."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno:
            return (found.strerror or str(found)).lower()
        found = found.__cause__ or found.__context__
    return type(error).__name__


def _restarted(before: MetricsReading, now: MetricsReading) -> bool:
    started = [total(reading.gauges, STARTED) for reading in (before, now)]
    fell = any(now.counters.get(series, 0.0) < value for series, value in before.counters.items())
    return fell or started[0] != started[1]
