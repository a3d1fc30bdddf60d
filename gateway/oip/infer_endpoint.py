"""The inference routes of the protocol, without the parsing that a web framework would do per request."""

import asyncio
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from errors import RequestError
from gateway import deadline, exchange
from gateway.body import OCTETS, read_body
from gateway.exchange import Exchange
from gateway.forms import JSON
from gateway.hang_up import abandoned_with_client
from gateway.oip import json_wire
from gateway.oip.context import Oip, oip_of
from gateway.oip.exchanged import InferRequest, InferResponse, timeout_s
from gateway.oip.inference import infer
from gateway.oip.limits import answered_within
from gateway.oip.replies import protocol_error

INFER_ROUTES = ("/v2/models/{model}/infer", "/v2/models/{model}/versions/{version}/infer")


@dataclass(frozen=True, slots=True)
class InferEndpoint:
    """Answers one inference route; `route` is the template of its path."""

    route: str

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers; what a client did wrong is told in the protocol's shape."""
        request = exchange.of(scope)
        request.route = self.route
        try:
            response = await self._answer(oip_of(scope), request, scope, receive)
        except RequestError as error:
            response = protocol_error(error, request.request_id)
        await response(scope, receive, send)

    async def _answer(self, oip: Oip, request: Exchange, scope: Scope, receive: Receive) -> Response:
        seconds = oip.services.deadlines.seconds(exchange.header(scope["headers"], deadline.HEADER))
        ends = request.started + seconds
        async with answered_within(ends):
            path, limit = scope["path_params"], oip.services.settings.gateway.max_body_bytes
            found = await oip.services.catalog.find(path["model"], path.get("version"))
            request.model = found.model
            body = await read_body(scope["headers"], receive, limit)
            length = exchange.header(scope["headers"], json_wire.HEADER)
            asked = json_wire.read(body.data, length, found.model, path.get("version"))
            own = timeout_s(asked.parameters)
            own_ends = ends if own is None else min(ends, asyncio.get_running_loop().time() + own)
            async with answered_within(own_ends), abandoned_with_client(receive):
                answer = await infer(oip, found, asked, request.request_id)
        return _response(answer, asked)


def _response(answer: InferResponse, asked: InferRequest) -> Response:
    binary = json_wire.binary_output(asked.parameters)
    body, length = json_wire.write(answer, asked.outputs, binary=binary)
    headers = {"x-model-version": answer.version}
    if length is None:
        return Response(body, headers=headers, media_type=JSON)
    return Response(body, headers=headers | {json_wire.HEADER.decode(): str(length)}, media_type=OCTETS)
