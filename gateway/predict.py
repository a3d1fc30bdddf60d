"""The prediction routes: found by one lookup, and answered without the layers of the web framework.

    path ──▶ PredictionRouter ──┬──▶ PredictionEndpoint: deadline, model, admission, body ──▶ pipeline ──▶ response
                                └──▶ web framework, for any other path

The endpoints raise their errors, and the middleware writes them in the shape of the route's dialect.
"""

from collections.abc import Awaitable, Mapping
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.dialects.dialect import DialectRoute, reply_response
from gateway.dialects.registry import Dialects
from gateway.hooks import EngineResponse, PredictionRequest, Reply
from gateway.http.body import read_body
from gateway.http.context import RequestContext, context_of, header
from gateway.http.deadline import DEADLINE_HEADER, CancelScope, Disconnect, disconnect_of, watching
from gateway.http.forwarded import forwarded_headers
from gateway.http.payload import check_limits
from gateway.http.responses import send_response
from gateway.services import Services, services_of


@dataclass(frozen=True, slots=True)
class PredictionEndpoint:
    """Answers the predictions of one route."""

    route: DialectRoute

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or raise the RequestError that the middleware answers with."""
        services, request, disconnect = services_of(scope), context_of(scope), disconnect_of(scope)
        request.route = self.route.template
        seconds = services.deadlines.seconds(header(scope["headers"], DEADLINE_HEADER))
        request.deadline = request.started + seconds
        with CancelScope(request.deadline, disconnect, request.started):
            found = await self._predict(services, request, disconnect, scope, receive)
        response = reply_response(found) if isinstance(found, Reply) else self.route.write(found)
        await send_response(send, response)

    async def _predict(
        self, services: Services, request: RequestContext, disconnect: Disconnect, scope: Scope, receive: Receive
    ) -> EngineResponse | Reply:
        path, choose = scope["path_params"], self.route.choose
        name, version = path.get("model"), path.get("version")
        if choose is not None:
            name = await services.catalog.choose(choose, request.headers, name)
        found = await services.catalog.find(name, version)
        request.model = found.model
        if self.route.check is not None:
            self.route.check(request.headers, found.kind)
        # Refusing is cheapest before the body is read; the connection drops the rest of it.
        services.admission.check(found.model, request.deadline)
        is_adopted = found.kind == "adopted"
        body = await read_body(scope, receive, services.budget, unread=is_adopted)
        payload = self.route.read(body, found.kind)
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
            headers=forwarded_headers(request.headers) if is_adopted else (),
            explain=self.route.explains,
        )
        with watching(scope, receive, disconnect):
            return await services.pipeline.predict(prediction)


class PredictionRouter:
    """Sends predictions to their endpoint and everything else to the web framework.

    `endpoints` are those of all prediction routes by method and template. The framework's router has the same routes
    and answers other methods, but it would try its routes one after the other.
    """

    def __init__(self, app: ASGIApp, dialects: Dialects, endpoints: Mapping[str, Mapping[str, ASGIApp]]) -> None:
        self._app = app
        self._dialects = dialects
        self._endpoints = endpoints

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Return the awaitable that answers the request; not being a coroutine, this adds no call to the stack."""
        if scope["type"] == "http" and (endpoints := self._endpoints.get(scope["method"])) is not None:
            path = self._dialects.find(scope["path"])
            if path is not None and path.template in endpoints:
                scope["path_params"] = path.parameters
                return endpoints[path.template](scope, receive, send)
        return self._app(scope, receive, send)


class HeadAsGet:
    """Wraps the web framework: a route that answers GET answers HEAD.

    When the response is sent, the method is HEAD again, and the server leaves the body out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer HEAD as GET, and forward any other method unchanged."""
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
