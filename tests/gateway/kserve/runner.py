"""Runs in the environment of the stock client: makes its calls of protocol V1, and prints what they return as JSON."""

import asyncio
import json
import sys
from typing import Any

import httpx
from kserve import InferenceRESTClient, RESTConfig


async def main(url: str, calls: list[dict[str, Any]]) -> list[Any]:
    """Return the result of each call, or the text of its error."""
    found = []
    async with InferenceRESTClient(RESTConfig(protocol="v1", timeout=60)) as client:
        for call in calls:
            try:
                found.append(await getattr(client, call.pop("method"))(url, **call))
            except httpx.HTTPStatusError as error:
                found.append(f"{error.response.status_code}: {error}")
    return found


print(json.dumps(asyncio.run(main(sys.argv[1], json.load(sys.stdin)))))  # noqa: T201
