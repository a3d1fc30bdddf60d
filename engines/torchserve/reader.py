"""Describes one TorchServe host over its Management API: which models, versions and workers there are, and cards."""

from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from engines.engine_profile import ModelVersion
from engines.interface import Keys
from engines.torchserve import api
from errors import EngineError
from settings.schema import Node

# A describe of a busy model waits in the queue of its worker; longer than this the catalog goes on without it.
TIMEOUT_S = 5.0
PING_TIMEOUT_S = 2.0


class ManagementReader:
    """The reading half of the Management API, over somebody else's session."""

    def __init__(self, node: Node, session: aiohttp.ClientSession, keys: Keys) -> None:
        self._node = node
        self._session = session
        self._keys = keys

    async def answers(self) -> bool:
        """Whether it is there; any answer but a server's error counts, for without a key it refuses."""
        timeout = aiohttp.ClientTimeout(total=PING_TIMEOUT_S)
        try:
            async with self._session.get(self._node.inference_url + api.PING, timeout=timeout) as response:
                return response.status < 500
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def model_names(self) -> list[str]:
        """Names of all registered models."""
        names: list[str] = []
        start: str | None = "0"
        while start is not None:
            page = await self._get(api.page_path(start)) or {}
            names += [str(model["modelName"]) for model in page.get("models", [])]
            start = page.get("nextPageToken")
        return names

    async def versions(self, name: str) -> list[ModelVersion]:
        """All versions of a model; empty when it is gone."""
        found = await self._get(api.versions_path(name))
        return [api.model_version(entry) for entry in found] if isinstance(found, list) else []

    async def default_version(self, name: str) -> str | None:
        """The version that answers when none is named."""
        found = await self._get(api.model_path(name))
        return str(found[0]["modelVersion"]) if isinstance(found, list) and found else None

    async def card(self, name: str, version: str) -> Mapping[str, Any] | None:
        """The model card, asked of a worker; empty for an archive without one, None when no worker answered."""
        try:
            found = await self._get(api.card_path(name, version))
        except EngineError:
            return None
        if not isinstance(found, list) or not found:
            return None
        card = found[0].get("customizedMetadata")
        return card if isinstance(card, dict) else {}

    async def _get(self, path: str) -> Any:
        """The parsed answer; None for 404."""
        token = await self._keys.token("management")
        status, content = await self._send(path, token)
        if names_a_refused_key(status, content) and await self._keys.replaced("management", token):
            status, content = await self._send(path, await self._keys.token("management"))
        if status not in (200, 404):
            raise EngineError(f"the engine answered {status} to a management call")
        return content if status == 200 else None

    async def _send(self, path: str, token: str | None) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        url = self._node.management_url + path
        try:
            async with self._session.get(url, headers=headers, timeout=timeout) as response:
                return response.status, orjson.loads(await response.read() or b"null")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError("the engine's Management API does not answer") from error
        except orjson.JSONDecodeError as error:
            raise EngineError("the engine's Management API did not answer in JSON") from error


def names_a_refused_key(status: int, content: Any) -> bool:
    """Whether the engine did not accept the token."""
    return status in (400, 401, 403) and isinstance(content, dict) and content.get("type") == "InvalidKeyException"
