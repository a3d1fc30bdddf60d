"""The prediction routes: one ASGI application each, without the parsing that a web framework would do per request."""

from dataclasses import dataclass

import orjson
from starlette.types import Receive, Scope, Send

from errors import DeadlinePassed, UnknownModel
from gateway import deadline, exchange, limits
from gateway.aliases import ResponseForm, single
from gateway.body import read_body
from gateway.engine import EngineAnswer
from gateway.exchange import Exchange
from gateway.forms import Form
from gateway.hang_up import DeadlineExpiredError, Patience, hang_up_of, watched
from gateway.hooks import PredictionRequest, Reply
from gateway.pipeline import parsed
from gateway.replies import send_bytes
from gateway.services import Services, services_of


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
        request.deadline = deadline_at = request.started + seconds
        try:
            async with Patience(deadline_at, hang_up_of(scope)):
                answer = await self._answer(services, request, scope, receive)
        except DeadlineExpiredError:
            raise DeadlinePassed(f"no answer within {seconds * 1000:.0f} ms") from None
        await self._send(answer, send)

    async def _answer(
        self, services: Services, request: Exchange, scope: Scope, receive: Receive
    ) -> EngineAnswer | Reply:
        name = self.model or scope["path_params"]["model"]
        version = scope["path_params"].get("version")
        found = await services.catalog.find(name, version)
        request.model = found.model
        # A refusal costs least before the body is read; what is left of it is thrown away as it comes.
        services.admission.check(found.model, request.deadline)
        body = await read_body(scope, receive, services.settings.gateway.max_body_bytes)
        payload = self.form(body, found.kind)
        limits.check(payload, found.card)
        prediction = PredictionRequest(
            found.model,
            version,
            found.kind,
            payload.content_type,
            payload.data,
            request.request_id,
            request.deadline,
            services.traffic.sticky(found.model, request.headers),
        )
        try:
            if hang_up_of(scope) is not None:
                return await services.pipeline.predict(prediction)
            async with watched(receive):
                return await services.pipeline.predict(prediction)
        except UnknownModel:
            services.catalog.forget()
            raise

    async def _send(self, answer: EngineAnswer | Reply, send: Send) -> None:
        if isinstance(answer, Reply):
            await send_bytes(send, orjson.dumps(answer.content), answer.status)
            return
        headers = [] if answer.version is None else [(b"x-model-version", answer.version.encode("latin-1"))]
        if self.response is None:
            await send_bytes(send, answer.body, content_type=answer.content_type, headers=headers)
        else:
            await send_bytes(send, orjson.dumps(single(parsed(answer), self.response)), headers=headers)
