"""A stack with engine=ray under load, and what its Manager says is registered."""

import asyncio
import json
from collections.abc import Callable

import requests

from bench.swaps import MixedLoad
from tests.e2e.conftest import Stack, unseen_digits
from tests.e2e.ray.nodes import wait_until

MODELS = ("digits", "cartpole")
# A slow machine is no failure: whoever waits, waits.
PATIENT = ("gateway.deadline_ms=120000", "gateway.admission.max_wait_ms=120000")

# What a gateway says whose engine is away, see docs/http.md.
AWAY = 503


def under_load(stack: Stack, steps: Callable[[MixedLoad], None]) -> MixedLoad:
    """Mixed load from before the steps begin until they are done."""
    pictures, _ = unseen_digits()
    load = MixedLoad(stack.gateway, 6, pictures[:50])

    async def run() -> None:
        running = asyncio.create_task(load.run())
        try:
            await asyncio.to_thread(answers_come, load)
            await asyncio.to_thread(steps, load)
        finally:
            load.stop()
            await running

    asyncio.run(run())
    return load


def answers_come(load: MixedLoad, number: int = 20) -> None:
    """Wait for so many more answers of each model that are right."""

    def good(model: str) -> int:
        return sum(answer.model == model and answer.status == 200 for answer in list(load.answers))

    before = {model: good(model) for model in MODELS}
    wait_until(lambda: all(good(model) >= before[model] + number for model in MODELS), "answers come")


def key(stack: Stack, interface: str) -> str:
    """The bearer token of an interface."""
    return str(json.loads((stack.state / "ray" / "key_file.json").read_text())[interface]["key"])


def manage(stack: Stack, method: str, path: str, **query: object) -> requests.Response:
    """One call of the Management API."""
    url = f"http://127.0.0.1:{stack.env['MARINA_MANAGEMENT_PORT']}{path}"
    headers = {"Authorization": f"Bearer {key(stack, 'management')}"}
    given = {name: str(value) for name, value in query.items()}
    return requests.request(method, url, params=given, headers=headers, timeout=300)


def registered(stack: Stack) -> dict[str, tuple[dict[str, int], str]]:
    """What the Manager knows: each model's versions with their number of workers, and the default one."""
    models = {}
    for model in [each["modelName"] for each in manage(stack, "GET", "/models").json()["models"]]:
        found = manage(stack, "GET", f"/models/{model}/all").json()
        versions = {each["modelVersion"]: each["minWorkers"] for each in found}
        models[model] = (versions, manage(stack, "GET", f"/models/{model}").json()[0]["modelVersion"])
    return models
