"""The inference routes of the protocol, without the parsing that a web framework would do per request."""

import asyncio
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from errors import DeadlinePassed, RequestError
from gateway.catalog import ServedVersion
from gateway.http.body import OCTETS, read_body
from gateway.http.context import RequestContext, context_of, header
from gateway.http.deadline import DEADLINE_HEADER, DeadlineExpiredError, Patience, hang_up_of, watched
from gateway.http.payload import JSON
from gateway.oip import json_wire
from gateway.oip.context import Oip, oip_of
from gateway.oip.exchanged import InferRequest, InferResponse, timeout_s
from gateway.oip.inference import infer
from gateway.oip.replies import protocol_error

INFER_ROUTES = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")


@dataclass(frozen=True, slots=True)
class InferEndpoint:
    """Answers one inference route; `route` is the template of its path."""

    route: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; what a client did wrong is told in the protocol's shape."""
        request = context_of(scope)
        request.route = self.route
        try:
            response = await self._answer(oip_of(scope), request, scope, receive)
        except RequestError as error:
            response = protocol_error(error, request.request_id)
        await response(scope, receive, send)

    async def _answer(self, oip: Oip, request: RequestContext, scope: Scope, receive: Receive) -> Response:
        services, hang_up = oip.services, hang_up_of(scope)
        seconds = services.deadlines.seconds(header(scope["headers"], DEADLINE_HEADER))
        request.deadline = request.started + seconds
        try:
            async with Patience(request.deadline, hang_up):
                found, asked = await self._read(oip, request, scope, receive)
            async with Patience(request.deadline, hang_up):
                if hang_up is not None:
                    return _response(await infer(oip, found, asked, request), asked)
                async with watched(receive):
                    return _response(await infer(oip, found, asked, request), asked)
        except DeadlineExpiredError:
            late = (request.deadline - request.started) * 1000
            raise DeadlinePassed(f"no answer within {late:.0f} ms") from None

    async def _read(
        self, oip: Oip, request: RequestContext, scope: Scope, receive: Receive
    ) -> tuple[ServedVersion, InferRequest]:
        """The model and the request; its own timeout may bring the deadline nearer."""
        services, path = oip.services, scope["path_params"]
        found = await services.catalog.find(path["model"], path.get("version"))
        request.model = found.model
        services.admission.check(found.model, request.deadline)
        body = await read_body(scope, receive, services.settings.gateway.max_body_bytes)
        length = header(scope["headers"], json_wire.HEADER)
        asked = json_wire.read(body.data, length, found.model, path.get("version"))
        own = timeout_s(asked.parameters)
        if own is not None:
            request.deadline = min(request.deadline, asyncio.get_running_loop().time() + own)
        return found, asked


def _response(answer: InferResponse, asked: InferRequest) -> Response:
    binary = json_wire.binary_output(asked.parameters)
    body, length = json_wire.write(answer, asked.outputs, binary=binary)
    headers = {"x-model-version": answer.version}
    if length is None:
        return Response(body, headers=headers, media_type=JSON)
    return Response(body, headers=headers | {json_wire.HEADER.decode(): str(length)}, media_type=OCTETS)
