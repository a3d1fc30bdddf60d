"""Calls both demo models through the gateway of the running stack, as any client does."""

import json
from collections.abc import Iterator
from typing import Any

import requests

from demo.digits import load_split, png
from errors import MarinaError
from settings import Settings
from settings.schema import NginxStoreSettings

TIMEOUT_S = 30.0
VISION_MODEL, POLICY = "digits", "cartpole"  # those that the demo trains
DIGIT = 0  # index among the unseen digits
STATE = {"cart_position": 0.03, "cart_velocity": 0.02, "pole_angle": 0.04, "pole_angular_velocity": 0.3}


def lines(settings: Settings) -> Iterator[str]:
    """Yield the requests, their responses, and every URL of the stack; raises MarinaError for an error response."""
    url, key = settings.gateway.url, settings.gateway.key_headers()
    yield from _digit(f"{url}/models/{settings.gateway.default_vision_model or VISION_MODEL}/predict", key)
    yield ""
    yield from _state(f"{url}/models/{settings.gateway.default_policy or POLICY}/predict", key)
    yield ""
    for name, address in addresses(settings).items():
        yield f"{name:<14} {address}"


def addresses(settings: Settings) -> dict[str, str]:
    """Return the stack's URLs by the name of the page or API."""
    found = {
        "gateway": settings.gateway.url,
        "Swagger": f"{settings.gateway.url}/docs",
        "models": f"{settings.gateway.url}/models",
        "metrics": f"{settings.gateway.url}/metrics",
    }
    if isinstance(settings.store, NginxStoreSettings):
        found["file browser"] = settings.store.url
    return found | {"inference": settings.engine.inference_url, "management": settings.engine.management_url}


def _digit(url: str, key: dict[str, str]) -> Iterator[str]:
    _, unseen = load_split()
    body, label = png(unseen.images[DIGIT]), int(unseen.labels[DIGIT])
    yield f"POST {url}  image/png, {len(body)} bytes: a {label} that no training has seen"
    answer = _post(url, data=body, headers={"Content-Type": "image/png", **key})
    first = answer["predictions"][0]
    yield f"  {json.dumps(answer)}"
    yield f"  answered {first['label']}, the true label is {label}"


def _state(url: str, key: dict[str, str]) -> Iterator[str]:
    yield f"POST {url}  {json.dumps(STATE)}"
    yield f"  {json.dumps(_post(url, json=STATE, headers=key))}"


def _post(url: str, **request: Any) -> dict[str, Any]:
    try:
        response = requests.post(url, timeout=TIMEOUT_S, **request)
    except requests.RequestException:
        raise MarinaError(f"no gateway answers at {url}; start the stack with: make up") from None
    if not response.ok:
        raise MarinaError(f"{url}: {response.status_code} {response.text.strip()}")
    answer: dict[str, Any] = response.json()
    return answer
