"""What every engine must do for the rest of the kit, asked of the one that the stack runs on.

A second version of cartpole stands beside the one that serves, and is gone at the end.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import requests

import engines
from archive import Archive, open_archive
from delivery.checks import check_golden, probe_request
from delivery.publish import publish
from delivery.stores import Store, open_store
from delivery.stores.store import archive_file_name
from engines.engine_profile import ModelVersion, PredictionInput
from engines.torchserve.api import prediction_path
from engines.torchserve.engine_client import EngineClient
from engines.torchserve.error_responses import error_from_response, is_key_refused
from errors import EngineError, MarinaError, NoWorker, RequestError, UnknownModel
from loadtest.server_metrics import by_model
from prometheus import read
from settings import Settings, load
from settings.schema import EngineHostSettings, RegistrationSettings
from tests.e2e.clients import asking
from tests.e2e.conftest import ENGINE, Stack

pytestmark = pytest.mark.e2e
MODEL, OTHER = "cartpole", "7.1"
PARAMS = RegistrationSettings(batch_size=5, max_batch_delay=3, initial_workers=1, response_timeout=77)
WORKERS_S = 240.0
STATE = PredictionInput(b"[0,0,0.1,0.5]", "application/json")


@dataclass(frozen=True)
class Stage:
    """One host of a running engine, and an archive that it can fetch."""

    settings: Settings
    host: EngineClient
    store: Store
    archive: Archive
    serving: str

    @property
    def url(self) -> str:
        return self.store.url(archive_file_name(MODEL, OTHER))


@pytest.fixture(scope="module")
def stage(stack: Stack) -> Iterator[Stage]:
    with pytest.MonkeyPatch.context() as patch:
        stack.use(patch)
        settings = load([f"served_model={MODEL}"])
    store, archive = open_store(settings), open_archive(stack.archives / f"{MODEL}.mar")
    publish(archive, OTHER, store, settings)
    with engines.connect(settings) as host:
        serving = host.default(MODEL)
        assert serving is not None
        try:
            yield Stage(settings, host, store, archive, serving.version)
        finally:
            host.set_default(MODEL, serving.version)
            host.unregister(MODEL, OTHER)
            store.remove(archive_file_name(MODEL, OTHER))


@pytest.fixture
def registered(stage: Stage) -> Iterator[EngineClient]:
    """The other version with one worker and no traffic; a test may leave it in any state."""
    host = stage.host
    if (found := host.find(MODEL, OTHER)) is None or found.min_workers == 0:
        host.unregister(MODEL, OTHER)
        host.register(MODEL, stage.url, PARAMS, 60)
        host.scale(MODEL, OTHER, 1, WORKERS_S)
        with_workers(host, 1)
    yield host
    host.set_default(MODEL, stage.serving)


def with_workers(host: EngineClient, count: int) -> ModelVersion:
    """The other version, once so many workers are described."""
    deadline = time.monotonic() + WORKERS_S
    while (found := host.find(MODEL, OTHER)) is None or found.ready_workers != count:
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    return found


def post(host: EngineClient, token: str, request: PredictionInput, model: str = MODEL) -> tuple[int, bytes]:
    """One prediction as the gateway's connections send it."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": request.content_type}
    url = host.node.inference_url + prediction_path(model, None)
    answer = requests.post(url, data=request.body, headers=headers, timeout=60)
    return answer.status_code, answer.content


def test_it_answers_and_names_its_models(stage: Stage) -> None:
    assert stage.host.answers()
    assert {"cartpole", "digits"} <= set(stage.host.models())
    assert stage.host.node == stage.settings.engine.hosts[0]


def test_a_model_that_is_not_there_has_no_versions_and_can_be_removed(stage: Stage) -> None:
    host = stage.host
    assert (host.versions("nobody"), host.default("nobody"), host.find("nobody", "1.0")) == ([], None, None)
    assert host.find(MODEL, "66.6") is None
    host.unregister("nobody", "1.0")
    host.unregister(MODEL, "66.6")


def test_a_version_is_registered_as_asked_beside_the_one_that_serves(stage: Stage) -> None:
    host = stage.host
    host.unregister(MODEL, OTHER)
    host.register(MODEL, stage.url, PARAMS, 60)
    found, default = host.find(MODEL, OTHER), host.default(MODEL)
    assert found is not None
    assert default is not None
    assert (found.model, found.version, found.archive) == (MODEL, OTHER, archive_file_name(MODEL, OTHER))
    assert (found.batch_size, found.max_batch_delay) == (5, 3)
    assert (found.response_timeout, default.response_timeout) == (77, stage.settings.engine.response_timeout_s)
    assert (found.ready_workers, found.pending_requests) == (0, 0)
    assert default.version == stage.serving
    assert {each.version for each in host.versions(MODEL)} >= {stage.serving, OTHER}
    assert host.predict(MODEL, OTHER, STATE).status == 503
    # A name that was fetched once is fetched again, when its version is gone.
    host.unregister(MODEL, OTHER)
    assert host.find(MODEL, OTHER) is None
    host.register(MODEL, stage.url, PARAMS, 60)
    assert host.find(MODEL, OTHER) is not None


def test_version_without_a_worker_is_no_worker(stage: Stage) -> None:
    host = stage.host
    host.unregister(MODEL, OTHER)
    host.register(MODEL, stage.url, PARAMS, 60)
    answer = host.predict(MODEL, OTHER, STATE)
    assert isinstance(error_from_response(answer.status, answer.body, MODEL), NoWorker)
    assert host.card(MODEL, OTHER) in (None, {})


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/files/x-1.0.mar", "file:///etc/hostname"])
def test_what_is_not_in_the_store_is_refused_in_one_line(stage: Stage, url: str) -> None:
    with pytest.raises(EngineError) as caught:
        stage.host.register("stranger", url, PARAMS, 60)
    assert "\n" not in str(caught.value)
    assert stage.host.versions("stranger") == []


def test_workers_are_as_many_as_asked_and_answer_by_their_names(registered: EngineClient) -> None:
    one = with_workers(registered, 1)
    assert one.has(PARAMS)
    registered.scale(MODEL, OTHER, 2, WORKERS_S)
    two = with_workers(registered, 2)
    assert len(two.pids) == two.ready_workers == two.min_workers == 2
    assert one.pids < two.pids
    assert two.started is not None
    assert registered.predict(MODEL, OTHER, STATE).worker in two.pids


def test_exactly_the_version_that_is_named_answers_its_golden_inputs(registered: EngineClient, stage: Stage) -> None:
    samples = stage.archive.golden["samples"]
    assert check_golden(registered, MODEL, OTHER, stage.archive.golden) == len(samples) > 0
    answer = registered.predict(MODEL, OTHER, STATE)
    assert answer.status == 200
    assert f'"version":"{OTHER}"' in answer.text.replace(" ", "")
    default = registered.default(MODEL)
    assert default is not None
    assert default.version == stage.serving


def test_a_bad_request_is_answered_with_its_own_status(registered: EngineClient) -> None:
    statuses = [
        registered.predict(MODEL, OTHER, PredictionInput(body, "application/json")).status for body in (b"{", b"[1]")
    ]
    assert statuses == [400, 422]
    assert registered.predict(MODEL, OTHER, STATE).status == 200


def test_a_body_as_large_as_clients_may_send_reaches_the_handler(stage: Stage) -> None:
    serving = stage.host.default("digits")
    assert serving is not None
    no_picture = PredictionInput(b"\0" * stage.settings.gateway.max_body_bytes, "image/png")
    answer = stage.host.predict("digits", serving.version, no_picture, timeout_s=100)
    assert answer.status == 400, answer.text
    assert "unreadable_input" in answer.text


def test_every_worker_is_warmed(registered: EngineClient, stage: Stage) -> None:
    found = registered.find(MODEL, OTHER)
    assert found is not None
    assert registered.warm(found, probe_request(stage.archive), 2, WORKERS_S)


def test_the_default_version_goes_only_when_it_is_the_last(registered: EngineClient, stage: Stage) -> None:
    with pytest.raises(EngineError):
        registered.unregister(MODEL, stage.serving)
    default = registered.default(MODEL)
    assert default is not None
    assert default.version == stage.serving


def test_description_of_an_unknown_model_is_empty(registered: EngineClient) -> None:
    assert registered.is_alive()
    default = registered.default(MODEL)
    assert default is not None
    assert default.version in {each.version for each in registered.versions(MODEL)}
    assert (registered.versions("nobody"), registered.default("nobody")) == ([], None)


def test_a_worker_shows_the_card_of_its_archive(registered: EngineClient, stage: Stage) -> None:
    card = registered.card(MODEL, OTHER)
    assert card is not None
    assert {key: card[key] for key in ("model_name", "kind", "action")} == {
        key: stage.archive.card[key] for key in ("model_name", "kind", "action")
    }


def test_refused_key_is_recognized_and_replaced(stage: Stage) -> None:
    status, body = post(stage.host, "nobodys-key", STATE)
    assert is_key_refused(status, body)
    keys = stage.host.keys
    assert keys.replace("inference", "nobodys-key")
    status, body = post(stage.host, keys.token("inference"), STATE)
    assert (status, is_key_refused(status, body)) == (200, False)


@pytest.mark.parametrize(
    ("model", "body", "error"),
    [
        ("nobody", b"[0,0,0,0]", UnknownModel("")),
        (MODEL, b"{", RequestError("")),
        (MODEL, b"[1]", RequestError("")),
    ],
    ids=["unknown model", "unreadable", "invalid"],
)
def test_error_response_has_its_meaning(stage: Stage, model: str, body: bytes, error: RequestError) -> None:
    token = stage.host.keys.token("inference")
    status, content = post(stage.host, token, PredictionInput(body, "application/json"), model)
    found = error_from_response(status, content, model)
    assert type(found) is type(error)
    assert found.code in {"unknown_model", "unreadable_input", "invalid_fields"}
    assert found.status == status < 500


def test_requests_are_counted_under_the_names_that_it_gives(stage: Stage) -> None:
    assert stage.host.predict(MODEL, stage.serving, STATE).status == 200
    counters = by_model(read(stage.settings.engine.metrics_url).counters)
    names = ENGINE.metrics
    assert all((name, MODEL) in counters for name in (names.requests, names.queue_us, names.inference_us))


def test_a_host_that_is_not_there_is_no_answer(stage: Stage) -> None:
    away = EngineHostSettings(
        name="away", inference_url="http://127.0.0.1:1", management_url="http://127.0.0.1:1", token="t"
    )
    with engines.connect(stage.settings, away) as host:
        assert not host.is_alive()
        assert not host.answers()
        with pytest.raises(MarinaError, match=f"no {ENGINE.title} at"):
            host.versions(MODEL)


def test_a_switch_a_drain_and_a_removal_lose_no_request(registered: EngineClient, stage: Stage) -> None:
    address = registered.endpoint(MODEL)
    with asking(address.url, headers={"Authorization": address.authorization}) as answers:
        registered.set_default(MODEL, OTHER)
        default = registered.default(MODEL)
        registered.set_default(MODEL, stage.serving)
        old = registered.find(MODEL, OTHER)
        assert default is not None
        assert default.version == OTHER
        assert old is not None
        assert registered.drain(old, probe_request(stage.archive), WORKERS_S)
        registered.unregister(MODEL, OTHER)
        assert registered.find(MODEL, OTHER) is None
    assert answers.statuses == {200}
    assert {answer.version for answer in answers.seen} <= {stage.serving, OTHER}
    assert answers.seen[-1].version == stage.serving
