"""The hot path: prediction routes are found by one look, and pass none of the web framework's layers."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from errors import DeadlinePassed, UnknownModel
from gateway.dialects.native import prediction
from gateway.dialects.short_routes import ResponseForm, single
from gateway.hooks import EngineResponse, PredictionRequest, Reply
from gateway.http.body import read_body
from gateway.http.context import RequestContext, context_of, header
from gateway.http.deadline import DEADLINE_HEADER, DeadlineExpiredError, Patience, hang_up_of, watched
from gateway.http.payload import Form, check_limits
from gateway.http.responses import send_bytes
from gateway.pipeline import parsed
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
        services, request = services_of(scope), context_of(scope)
        request.route = self.route
        seconds = services.deadlines.seconds(header(scope["headers"], DEADLINE_HEADER))
        request.deadline = deadline_at = request.started + seconds
        try:
            async with Patience(deadline_at, hang_up_of(scope)):
                answer = await self._answer(services, request, scope, receive)
        except DeadlineExpiredError:
            raise DeadlinePassed(f"no answer within {seconds * 1000:.0f} ms") from None
        await self._send(answer, send)

    async def _answer(
        self, services: Services, request: RequestContext, scope: Scope, receive: Receive
    ) -> EngineResponse | Reply:
        name = self.model or scope["path_params"]["model"]
        version = scope["path_params"].get("version")
        found = await services.catalog.find(name, version)
        request.model = found.model
        # A refusal costs least before the body is read; what is left of it is thrown away as it comes.
        services.admission.check(found.model, request.deadline)
        body = await read_body(scope, receive, services.settings.gateway.max_body_bytes)
        payload = self.form(body, found.kind)
        check_limits(payload, found.card)
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

    async def _send(self, answer: EngineResponse | Reply, send: Send) -> None:
        if isinstance(answer, Reply):
            await send_bytes(send, orjson.dumps(answer.content), answer.status)
            return
        headers = [] if answer.version is None else [(b"x-model-version", answer.version.encode("latin-1"))]
        if self.response is None:
            await send_bytes(send, answer.body, content_type=answer.content_type, headers=headers)
        else:
            await send_bytes(send, orjson.dumps(single(parsed(answer), self.response)), headers=headers)


_KEY = "marina.endpoint"


async def endpoint_of(scope: Scope, receive: Receive, send: Send) -> None:
    """The innermost layer of the hot path: the endpoint that was found."""
    await scope[_KEY](scope, receive, send)


class PredictionRouter:
    """Sends predictions down the hot path; a router would try its routes one after the other.

    `hot` are the layers around `endpoint_of`; `app` is the web framework's application with everything else.
    """

    def __init__(
        self,
        app: ASGIApp,
        hot: ASGIApp,
        short: Mapping[str, PredictionEndpoint],
        default: PredictionEndpoint,
        versioned: PredictionEndpoint,
    ) -> None:
        self._app = app
        self._hot = hot
        self._short = short
        self._default = default
        self._versioned = versioned

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a prediction; the same routes stand in the router, which knows what to say to other methods."""
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._find(scope)
            if endpoint is not None:
                scope[_KEY] = endpoint
                await self._hot(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _find(self, scope: Scope) -> PredictionEndpoint | None:
        path: str = scope["path"]
        short = self._short.get(path)
        if short is not None:
            scope["path_params"] = {}
            return short
        named = prediction(path)
        if named is None:
            return None
        scope["path_params"] = named.parameters
        return self._default if named.version is None else self._versioned


class HeadAsGet:
    """The innermost layer around the web framework: a route that answers GET answers HEAD.

    When the answer goes out the method is HEAD again, whose body the server leaves out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return

        async def head_only(message: Message) -> None:
            scope["method"] = "HEAD"
            await send(message)

        scope["method"] = "GET"
        try:
            await self._app(scope, receive, head_only)
        finally:
            scope["method"] = "HEAD"
