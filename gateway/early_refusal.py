"""What a gateway over capacity spends on those whom it must refuse: as little as it can.

    head of a request ──▶ Refusals: no place? ──▶ 429 from the head alone, its body is dropped as it comes
    next request of the same connection, before Retry-After is over, again and again ──▶ EarlyReturns: read later

A client that asks again at once takes processor time from the workers, which makes the engine slower for everyone. So
only some refusals in a row are quick; from then on the connection is read when it was told to come back, and later each
time that it is refused again.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from errors import OverCapacity, RequestError
from gateway.catalog import Catalog
from gateway.dialects.native import inference, prediction
from gateway.http.context import REQUEST_ID_HEADER, accepted_id, header
from gateway.http.deadline import DEADLINE_HEADER, Deadlines
from gateway.http.responses import JSON
from gateway.metrics import Metrics
from gateway.oip.json_codec import is_protocol_path
from gateway.scheduling.admission import AdmissionControl
from settings.schema import GatewaySettings

if TYPE_CHECKING:
    from gateway.apikey import ApiKeys

Headers = Sequence[tuple[bytes, bytes]]

# In a row, on one connection: some clients try again at once before they heed Retry-After.
QUICK_REFUSALS = 2
# Longer than this no connection is kept waiting, however often it came back.
LONGEST_HOLD_S = 10.0
# A proxy's connection carries requests of many clients, who know nothing of each other's refusals.
PROXIED = frozenset({b"x-forwarded-for", b"forwarded", b"via"})


class Refusals:
    """Refuses predictions for which there is no place, before anything but their head is read."""

    def __init__(
        self,
        gateway: GatewaySettings,
        catalog: Catalog,
        admission: AdmissionControl,
        metrics: Metrics,
        keys: "ApiKeys | None",
    ) -> None:
        self._catalog = catalog
        self._admission = admission
        self._metrics = metrics
        self._keys = keys
        self._longest = gateway.max_body_bytes
        self._deadlines = Deadlines(gateway.deadline_ms, gateway.max_deadline_ms)
        self._aliases = {alias.path: alias.model for alias in gateway.aliases}
        self._target = lru_cache(maxsize=1024)(self._find)

    def of(self, url: bytes, headers: Headers, now: float) -> tuple[int, Headers, bytes] | None:
        """Return status, headers and body of the refusal at `now`; None for what the application is to answer."""
        target = self._target(url)
        if target is None:
            return None
        model, route = target
        if not self._admission.is_pressed(model) or self._catalog.known(model, None) is None:
            return None
        if not self._is_plain(headers):
            return None
        try:
            seconds = self._deadlines.seconds(header(headers, DEADLINE_HEADER))
            self._admission.check(model, now + seconds)
        except OverCapacity as error:
            self._metrics.request(model, route, error.status, 0.0)
            return self._answer(route, error, accepted_id(header(headers, REQUEST_ID_HEADER)))
        except RequestError:
            return None  # its deadline cannot be read, which the application says
        return None

    def _is_plain(self, headers: Headers) -> bool:
        """Say whether the application would have no other word for a request: on its body's size, on its key."""
        length = header(headers, b"content-length")
        if length is None or not length.isdigit() or int(length) > self._longest:
            return False
        return self._keys is None or self._keys.knows(headers)

    def _answer(self, route: str, error: OverCapacity, name: str) -> tuple[int, Headers, bytes]:
        told = {"error": error.detail} if is_protocol_path(route) else {"error": error.code, "detail": error.detail}
        body = orjson.dumps({**told, "request_id": name})
        headers = [
            (b"content-type", JSON.encode("ascii")),
            (b"content-length", b"%d" % len(body)),
            (b"retry-after", error.headers["retry-after"].encode("ascii")),
            (b"x-request-id", name.encode("ascii")),
            (b"x-content-type-options", b"nosniff"),
        ]
        return error.status, headers, body

    def _find(self, url: bytes) -> tuple[str, str] | None:
        """Return the model that a path names and the template of its route; None for what is no prediction."""
        path = url.decode("latin-1")
        if path in self._aliases:
            return self._aliases[path], path
        found = prediction(path) or inference(path)
        return None if found is None else (found.model, found.route)


class EarlyReturns:
    """One connection's refusals, and how long what it sends next is kept unread."""

    __slots__ = ("_not_before", "_refusals", "_request_line")

    def __init__(self) -> None:
        self._refusals = 0
        self._not_before = 0.0
        self._request_line = b""

    def refused(self, method: bytes, url: bytes, after_s: float, now: float) -> None:
        """Note that this request was refused at `now`, and told to come back after `after_s` seconds."""
        self._refusals += 1
        self._not_before = now + after_s
        self._request_line = b"%b %b " % (method, url)

    def hold_s(self, data: bytes, now: float) -> float:
        """Return for how many seconds the request that `data` begins is kept unread; 0.0 to read it at once."""
        if now >= self._not_before:
            self._refusals = 0
            return 0.0
        if self._refusals < QUICK_REFUSALS or not data.startswith(self._request_line):
            return 0.0
        times = self._refusals - QUICK_REFUSALS + 1
        return min((self._not_before - now) * times, LONGEST_HOLD_S)


def told_to_wait_s(status: int, asked: Headers, told: Headers) -> float | None:
    """Return the seconds of a refusal's Retry-After; None for other answers, and for a proxy's connection."""
    if status not in (429, 503) or any(name in PROXIED for name, _ in asked):
        return None
    after = header(told, b"retry-after")
    return float(after) if after is not None and after.isdigit() else None


def refusals_for(
    gateway: GatewaySettings, catalog: Catalog, admission: AdmissionControl, metrics: Metrics, keys: "ApiKeys | None"
) -> Refusals | None:
    """Return None where each request leaves a log line or a trace, which only the application makes."""
    if gateway.access_log or gateway.tracing.endpoint:
        return None
    return Refusals(gateway, catalog, admission, metrics, keys)
