"""The prediction routes: one ASGI application each, without the parsing that a web framework would do per request."""

import asyncio
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from errors import DeadlinePassed, UnknownModel
from gateway import deadline, exchange
from gateway.aliases import ResponseForm, single
from gateway.body import read_body
from gateway.exchange import Exchange
from gateway.forms import Form
from gateway.hang_up import abandoned_with_client
from gateway.hooks import PredictionRequest, Reply
from gateway.pipeline import parsed
from gateway.replies import json_response
from gateway.services import Services, services_of
from gateway.upstream import EngineAnswer


@dataclass(frozen=True, slots=True)
class PredictionEndpoint:
    """Answers one prediction route.

    Attributes:
        route: template of the path.
        form: what the route reads.
        model: the model that answers; None when the path names it.
        response: the short route's own response form; None passes the engine's answer on unchanged.

    """

    route: str
    form: Form
    model: str | None = None
    response: ResponseForm | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, or raises a RequestError that the edge turns into an answer."""
        services, request = services_of(scope), exchange.of(scope)
        request.route = self.route
        seconds = services.deadlines.seconds(exchange.header(scope["headers"], deadline.HEADER))
        try:
            async with asyncio.timeout_at(request.started + seconds) as limit:
                response = await self._answer(services, request, scope, receive)
        except TimeoutError:
            # Only this deadline is the client's; a time limit inside business logic is an error of its own.
            if not limit.expired():
                raise
            raise DeadlinePassed(f"no answer within {seconds * 1000:.0f} ms") from None
        await response(scope, receive, send)

    async def _answer(self, services: Services, request: Exchange, scope: Scope, receive: Receive) -> Response:
        name = self.model or scope["path_params"]["model"]
        version = scope["path_params"].get("version")
        found = await services.catalog.find(name, version)
        request.model = found.model
        body = await read_body(scope["headers"], receive, services.settings.gateway.max_body_bytes)
        payload = self.form(body, found.kind)
        prediction = PredictionRequest(
            found.model, version, found.kind, payload.content_type, payload.data, request.request_id
        )
        try:
            async with abandoned_with_client(receive):
                answer = await services.pipeline.predict(prediction)
        except UnknownModel:
            services.catalog.forget()
            raise
        return self._response(answer)

    def _response(self, answer: EngineAnswer | Reply) -> Response:
        if isinstance(answer, Reply):
            return json_response(answer.content, answer.status)
        headers = {} if answer.version is None else {"x-model-version": answer.version}
        if self.response is None:
            return Response(answer.body, headers=headers, media_type=answer.content_type)
        return json_response(single(parsed(answer), self.response), headers=headers)
