import asyncio
import contextlib

import pytest

from errors import EngineError, NoWorker
from gateway.catalog import Catalog
from gateway.metrics import model_metrics
from gateway.served_models import ServedModel, ServedVersion, Snapshot


def version(name: str, *, default: bool, ready: int = 1) -> ServedVersion:
    return ServedVersion("digits", name, default, ready, 2, 2, 4, 4, 5, 7, 93, {})


VIEW = Snapshot({"digits": ServedModel("digits", (version("1.0", default=False), version("1.1", default=True)))}, 0)


def lines(answers: bool | None, snapshot: Snapshot | None) -> set[str]:
    return {line for line in model_metrics(answers, snapshot).decode().splitlines() if not line.startswith("#")}


def test_model_metrics_have_versions_workers_and_queues() -> None:
    found = lines(True, VIEW)
    assert "marina_gateway_engine_up 1.0" in found
    assert 'marina_gateway_model_serving{model="digits",version="1.0"} 0.0' in found
    assert 'marina_gateway_model_serving{model="digits",version="1.1"} 1.0' in found
    assert 'marina_gateway_model_workers_ready{model="digits",version="1.1"} 1.0' in found
    assert 'marina_gateway_model_workers_wanted{model="digits",version="1.1"} 2.0' in found
    assert 'marina_gateway_model_queue_length{model="digits",version="1.1"} 7.0' in found


def test_model_metrics_without_engine_have_no_models() -> None:
    assert lines(False, VIEW) == {"marina_gateway_engine_up 0.0"}


def test_model_metrics_before_first_look_are_empty() -> None:
    assert lines(None, None) == set()


@pytest.mark.parametrize("answers", [True, False])
def test_catalog_glance_never_waits_and_starts_a_look(answers: bool) -> None:
    async def look() -> dict[str, ServedModel]:
        if not answers:
            raise EngineError("gone")
        return dict(VIEW.models)

    async def glance_twice() -> None:
        catalog = Catalog(look, ttl_s=60)
        assert catalog.glance() == (None, None)
        with contextlib.suppress(NoWorker):
            await catalog.fresh()
        found = catalog.glance()
        assert found[0] is answers
        assert (found[1] is not None) is answers
        await catalog.close()

    asyncio.run(asyncio.wait_for(glance_twice(), 10))
