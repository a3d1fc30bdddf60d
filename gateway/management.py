"""Reads the engine's Management API: which models, versions and workers there are, and the card of each version."""

from typing import Any
from urllib.parse import quote

import aiohttp
import orjson

from errors import EngineError
from gateway.card import Card
from gateway.keys import KeyRing

# A describe of a busy model waits in the queue of its worker; longer than this the catalog goes on without it.
TIMEOUT_S = 5.0
PAGE = 100


class Management:
    """The reading half of the Management API. Every method raises EngineError when the engine does not answer."""

    def __init__(self, url: str, session: aiohttp.ClientSession, keys: KeyRing) -> None:
        self._url = url
        self._session = session
        self._keys = keys

    async def model_names(self) -> list[str]:
        """Names of all registered models."""
        names: list[str] = []
        token: str | None = ""
        while token is not None:
            page = await self._get(f"/models?limit={PAGE}&next_page_token={token or 0}") or {}
            names += [str(model["modelName"]) for model in page.get("models", [])]
            token = page.get("nextPageToken")
        return names

    async def versions(self, name: str) -> list[dict[str, Any]]:
        """Descriptions of all versions of a model, as TorchServe gives them; empty when it is gone."""
        found = await self._get(f"/models/{quote(name, safe='')}/all")
        return found if isinstance(found, list) else []

    async def default_version(self, name: str) -> str | None:
        """The version that answers when none is named."""
        found = await self._get(f"/models/{quote(name, safe='')}")
        return str(found[0]["modelVersion"]) if isinstance(found, list) and found else None

    async def card(self, name: str, version: str) -> Card | None:
        """The model card, asked of a worker; empty for an archive without one, None when no worker answered."""
        try:
            found = await self._get(f"/models/{quote(name, safe='')}/{quote(version, safe='')}?customized=true")
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
        if _refuses_key(status, content) and await self._keys.replaced("management", token):
            status, content = await self._send(path, await self._keys.token("management"))
        if status not in (200, 404):
            raise EngineError(f"the engine answered {status} to a management call")
        return content if status == 200 else None

    async def _send(self, path: str, token: str | None) -> tuple[int, Any]:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        try:
            async with self._session.get(self._url + path, headers=headers, timeout=timeout) as response:
                return response.status, orjson.loads(await response.read() or b"null")
        except (aiohttp.ClientError, TimeoutError) as error:
            raise EngineError("the engine's Management API does not answer") from error
        except orjson.JSONDecodeError as error:
            raise EngineError("the engine's Management API did not answer in JSON") from error


def _refuses_key(status: int, content: Any) -> bool:
    return status in (400, 401, 403) and isinstance(content, dict) and content.get("type") == "InvalidKeyException"
