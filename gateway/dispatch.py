"""The hot path: prediction routes are found by one look, and pass none of the web framework's layers."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.endpoints import PredictionEndpoint
from gateway.paths import prediction

_KEY = "marina.endpoint"


async def endpoint_of(scope: Scope, receive: Receive, send: Send) -> None:
    """The innermost layer of the hot path: the endpoint that was found."""
    await scope[_KEY](scope, receive, send)


class Dispatch:
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
