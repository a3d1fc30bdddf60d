"""The survey of an engine host reads it in threads, so that a host that hangs delays nothing else."""

import asyncio
import socket
from collections.abc import Iterator

import pytest

import engines
from errors import EngineError
from gateway.upstream import survey
from gateway.upstream.survey import Survey
from settings import load
from tests.gateway.given import GivenTorchServe
from tests.gateway.stage_parts import settle

pytestmark = pytest.mark.anyio


@pytest.fixture
def hung() -> Iterator[int]:
    """The port of a host that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening.getsockname()[1]


def survey_of(*overrides: str, timeout_s: float = 30.0) -> Survey:
    return Survey(engines.connect(load([*overrides]), timeout_s=timeout_s))


async def test_survey_reads_models_versions_and_cards(given: GivenTorchServe) -> None:
    survey = survey_of(*given.overrides)
    models = await survey.look()
    assert {name: model.default.kind for name, model in models.items()} == {"digits": "vision", "cartpole": "policy"}
    assert await survey.is_alive()
    survey.close()


async def test_survey_of_a_hung_host_ends_in_time_and_delays_no_other(
    given: GivenTorchServe, hung: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = (f"engine.inference_port={hung}", f"engine.management_port={hung}", "engine.key_file=nowhere")
    lost, well = survey_of(*ports, timeout_s=1.0), survey_of(*given.overrides)
    with monkeypatch.context() as short:  # for the hung host alone
        short.setattr(survey, "READ_S", 0.5)
        short.setattr(survey, "PING_S", 0.5)
        looking = asyncio.create_task(lost.look())
        pinging = asyncio.create_task(lost.is_alive())
        await settle()
    async with asyncio.timeout(60):
        assert set(await well.look()) == {"digits", "cartpole"}
        with pytest.raises(EngineError, match="the engine's Management API does not answer"):
            await looking
        assert not await pinging
    lost.close()
    well.close()
