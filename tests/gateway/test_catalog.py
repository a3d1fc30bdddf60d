"""What the gateway knows of the engine between two looks.

The looks are counted and made to fail at chosen moments, so what a look finds is given here.
"""

import asyncio
from collections.abc import Mapping

import anyio
import pytest

from engines.torchserve.api import model_version
from errors import EngineError, NoWorker, UnknownModel
from gateway.catalog import Catalog
from gateway.model_card import ModelCard
from gateway.served_models import ServedModel, described

pytestmark = pytest.mark.anyio


class Engine:
    """Answers looks with the models it is told to have."""

    def __init__(self, *names: str) -> None:
        self.names = list(names)
        self.looks = 0
        self.looked = anyio.Event()
        self.down = False
        self.odd = False
        self.card: ModelCard = {"kind": "vision"}

    async def look(self) -> Mapping[str, ServedModel]:
        self.looks += 1
        self.looked.set()
        if self.down:
            raise EngineError("no answer")
        if self.odd:
            raise KeyError("modelName")
        return {name: model(name, self.card) for name in self.names}


def model(name: str, card: ModelCard) -> ServedModel:
    entry = {"modelName": name, "modelVersion": "1.0", "workers": [{"status": "READY"}]}
    return ServedModel(name, (described(model_version(entry), default=True, card=card),))


async def test_predictions_share_one_look_until_it_is_old() -> None:
    engine = Engine("digits")
    catalog = Catalog(engine.look, ttl_s=60)
    for _ in range(100):
        assert (await catalog.find("digits")).kind == "vision"
    assert engine.looks == 1


async def test_an_old_view_still_answers_while_the_next_look_is_under_way() -> None:
    engine = Engine("digits")
    catalog = Catalog(engine.look, ttl_s=1e-9)
    await catalog.find("digits")
    engine.names.clear()
    engine.looked = anyio.Event()
    assert (await catalog.find("digits")).model == "digits"
    with anyio.fail_after(10):
        await engine.looked.wait()
    with pytest.raises(UnknownModel):
        await catalog.find("digits")


async def test_an_unknown_model_is_looked_for_once_more_before_it_is_refused() -> None:
    engine = Engine()
    catalog = Catalog(engine.look, ttl_s=60)
    with pytest.raises(UnknownModel):
        await catalog.find("digits")
    engine.names.append("digits")
    assert (await catalog.find("digits")).model == "digits"
    with pytest.raises(UnknownModel):
        await catalog.describe("late")
    engine.names.append("late")
    assert (await catalog.describe("late", "1.0")).name == "late"
    with pytest.raises(UnknownModel, match="no version 2 of model late"):
        await catalog.describe("late", "2")


async def test_an_adopted_model_has_the_name_of_its_archive_too_unless_two_have_it() -> None:
    engine, recorded = Engine("a_b"), {"a_b": "1.0"}
    engine.card = {"kind": "adopted", "provenance": {"model_name": "A-B"}}
    catalog = Catalog(engine.look, ttl_s=0, recorded=lambda: recorded)
    assert (await catalog.find("A-B")).model == "a_b"
    engine.names.clear()
    await catalog.fresh()
    with pytest.raises(NoWorker, match="delivery brings its version"):
        await catalog.find("A-B")
    engine.names += ["a_b", "other"]
    await catalog.fresh()
    with pytest.raises(UnknownModel, match="no model A-B is registered"):
        await catalog.find("A-B")


async def test_a_flood_of_unknown_names_costs_no_more_than_a_few_looks() -> None:
    engine = Engine()
    catalog = Catalog(engine.look, ttl_s=60)
    asked = await asyncio.gather(*(catalog.find(f"m{n}") for n in range(1000)), return_exceptions=True)
    assert {type(answer) for answer in asked} == {UnknownModel}
    assert engine.looks <= 2


async def test_a_known_model_outlives_the_engine_and_an_unknown_one_is_no_worker() -> None:
    engine = Engine("digits")
    catalog = Catalog(engine.look, ttl_s=60)
    await catalog.find("digits")
    engine.down = True
    with pytest.raises(NoWorker):
        await catalog.find("other")
    assert (await catalog.find("digits")).model == "digits"
    with pytest.raises(NoWorker):
        await catalog.fresh()


async def test_a_waiter_that_gives_up_leaves_the_look_to_the_others() -> None:
    engine = Engine("digits")
    catalog = Catalog(engine.look, ttl_s=60)
    hasty = asyncio.create_task(catalog.find("digits"))
    patient = asyncio.create_task(catalog.find("digits"))
    await asyncio.sleep(0)
    hasty.cancel()
    assert (await patient).model == "digits"
    assert engine.looks == 1


async def test_a_description_nobody_can_read_is_no_worker_and_no_hang() -> None:
    engine = Engine("digits")
    engine.odd = True
    catalog = Catalog(engine.look, ttl_s=60)
    with anyio.fail_after(10), pytest.raises(NoWorker):
        await catalog.find("digits")
