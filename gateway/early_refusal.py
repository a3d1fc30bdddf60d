"""Predictions over capacity, refused from their head alone.

A client that retries at once takes processor time from the workers, which slows the engine down for everyone. So the
gateway spends as little as it can on a request that it must refuse: the connection drops the body as it arrives.
"""

from collections.abc import Sequence

from errors import OverCapacity, RequestError
from gateway.apikey import ApiKeys
from gateway.catalog import Catalog
from gateway.dialects.dialect import PredictionPath
from gateway.dialects.registry import Dialects
from gateway.http.context import REQUEST_ID_HEADER, accepted_id, header
from gateway.http.deadline import DEADLINE_HEADER, Deadlines
from gateway.http.responses import CommonHeaders, HttpResponse
from gateway.middleware import RequestRecorder
from gateway.scheduling.admission import AdmissionControl
from settings.schema import GatewaySettings

Headers = Sequence[tuple[bytes, bytes]]


class EarlyRefusal:
    """Refuses predictions of a model that has no slot left."""

    def __init__(
        self,
        gateway: GatewaySettings,
        dialects: Dialects,
        catalog: Catalog,
        admission: AdmissionControl,
        recorder: RequestRecorder,
        common: CommonHeaders,
        keys: ApiKeys | None,
    ) -> None:
        self._dialects = dialects
        self._choices = {template: route.choose for template, route in dialects.routes.items()}
        self._catalog = catalog
        self._admission = admission
        self._recorder = recorder
        self._common = common
        self._keys = keys
        self._longest = gateway.max_body_bytes
        self._deadlines = Deadlines(gateway.deadline_ms, gateway.max_deadline_ms)

    def response(self, url: bytes, headers: Headers, now: float) -> HttpResponse | None:
        """Return the refusal of a request that arrives at `now`; None when the application must answer it."""
        path = self._dialects.find(url.decode("latin-1"))
        model = None if path is None else self._model(path, headers)
        if path is None or model is None or not self._admission.is_pressed(model):
            return None
        if self._catalog.known(model, None) is None or not self._is_plain(headers):
            return None
        try:
            seconds = self._deadlines.seconds(header(headers, DEADLINE_HEADER))
            self._admission.check(model, now + seconds)
        except OverCapacity as error:
            self._recorder.refused(model, path.template, error.status)
            request_id = accepted_id(header(headers, REQUEST_ID_HEADER))
            refusal = self._dialects.write_error(path.template, error, request_id)
            refusal.headers.extend(self._common.of(request_id, headers))
            return refusal
        except RequestError:
            return None  # its deadline is invalid; the application reports that
        return None

    def _model(self, path: PredictionPath, headers: Headers) -> str | None:
        choose = self._choices.get(path.template)
        return path.model if choose is None else self._catalog.chosen(choose, headers, path.model)

    def _is_plain(self, headers: Headers) -> bool:
        """Return True when the application would refuse the request for no other reason: its size, or its key."""
        length = header(headers, b"content-length")
        if length is None or not length.isdigit() or int(length) > self._longest:
            return False
        return self._keys is None or self._keys.knows(headers)


def is_usable(gateway: GatewaySettings) -> bool:
    """Return False when each request leaves a log line or a trace, which only the application writes."""
    return not (gateway.access_log or gateway.tracing.endpoint)
