"""A running TorchServe is adopted: what is read, what is left out with a reason, and what a second run does."""

import functools
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import settings
from delivery import adopt_command, running_torchserve
from delivery.adopt_torchserve import KEPT, adopt_each, check_adoptable, plan_deployment
from delivery.engine_process import EngineProcess
from delivery.machine_settings import machine_settings
from delivery.running_torchserve import RunningTorchServe, ServedModel, read_running
from engines.engine_profile import ModelVersion, WorkerStatus
from errors import ConfigError, EngineError
from settings.load import CONFIG
from tests.archive.foreign_archives import PARROT, parrot, samples


def version(model: str, number: str = "1.0", url: str = "parrot.mar", **changed: Any) -> ModelVersion:
    return ModelVersion(model, number, url, 4, 50, 2, 3, (), 0, 100, **{"response_timeout": 30, **changed})


def running(
    store: Path | None,
    *models: ServedModel,
    workflows: tuple[str, ...] = (),
    properties: Mapping[str, str] | None = None,
) -> RunningTorchServe:
    return RunningTorchServe("http://127.0.0.1:1", models, workflows, properties or {}, "none", store, None)


def loaded(tmp_path: Path, *words: str) -> settings.Settings:
    return settings.load([f"paths.state={tmp_path / 'state'}", f"paths.archives={tmp_path / 'mars'}", *words])


@contextmanager
def server(answer: Callable[[str], tuple[int, bytes]]) -> Iterator[str]:
    """An HTTP server whose GET answers with a status and a body for each path."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_port}"
    finally:
        made.shutdown()
        thread.join()
        made.server_close()


def test_each_model_is_planned_with_its_settings_or_left_out_with_a_reason(tmp_path: Path) -> None:
    store = parrot(tmp_path / "store").parent
    folder = tmp_path / "samples"
    for name in ("parrot", "Second-One", "gone", "clash", "Clash"):
        samples(folder / name, a__json=b"{}")
    found = running(
        store,
        ServedModel(version("parrot"), (version("parrot", "2.0"),)),
        ServedModel(version("Second-One"), ()),  # the same archive under another name
        ServedModel(version("unasked"), ()),
        ServedModel(version("gone", url="gone.mar"), ()),
        ServedModel(version("clash"), ()),
        ServedModel(version("Clash"), ()),
        ServedModel(version("digits"), ()),
        ServedModel(version("escaping", url="../../etc/passwd"), ()),
        ServedModel(version("chain__node0"), ()),
        workflows=("chain",),
    )
    samples(folder / "digits", a__json=b"{}")
    plan = plan_deployment(found, folder, loaded(tmp_path))
    assert [(model.name, model.served.name) for model in plan.models] == [
        ("parrot", "parrot"),
        ("second_one", "Second-One"),
    ]
    shown = "\n".join(plan.lines)
    assert "request_params.batch_size: 4, as it is served" in shown
    assert "at most 3 workers: not used; see scaling.models" in shown
    left = dict(line.split(": ", 1) for line in plan.left)
    assert set(left) == {"chain", "chain__node0", "parrot 2.0"}
    assert "a workflow" in left["chain"]
    assert "not its default version; `make adopt MAR_FILE= MODEL=` adopts it" in left["parrot 2.0"]
    refused = dict(line.split(": ", 1) for line in plan.refused)
    assert f"put whole request bodies into {folder / 'unasked'}" in refused["unasked"]
    assert refused["gone"] == (
        f"its archive gone.mar is missing: {store / 'gone.mar'} does not exist; put it there again, or name the folder"
        " that TorchServe has it from with MODEL_STORE="
    )
    assert "'clash' would be the name of 2 models" in refused["clash"]
    assert "'clash' would be the name of 2 models" in refused["Clash"]
    assert "configures another model named digits" in refused["digits"]
    assert f"../../etc/passwd leads out of the model store {store}" in refused["escaping"]
    assert not (tmp_path / "state").exists()


def test_archive_without_a_known_store_is_fetched_from_its_url_or_asks_for_the_store(tmp_path: Path) -> None:
    content = parrot(tmp_path / "theirs").read_bytes()
    folder = tmp_path / "samples"
    for name in ("parrot", "lost", "local"):
        samples(folder / name, a__json=b"{}")
    with server(lambda path: (200, content) if path.startswith("/there") else (403, b"")) as url:
        found = running(
            None,
            ServedModel(version("parrot", url=f"{url}/there/x.mar?secret=1"), ()),
            ServedModel(version("lost", url=f"{url.replace('//', '//user:token@')}/lost/x.mar?secret=1"), ()),
            ServedModel(version("local"), ()),
        )
        plan = plan_deployment(found, folder, loaded(tmp_path))
        assert [model.name for model in plan.models] == ["parrot"]
        assert plan.refused == (
            f"lost: its archive cannot be fetched: {url}/lost/x.mar answers 403",
            "local: its model store is not known here: MODEL_STORE= names the folder that holds parrot.mar",
        )
        small = loaded(tmp_path, "rollout.max_unpacked_bytes=100")
        assert "larger than rollout.max_unpacked_bytes" in plan_deployment(found, folder, small).refused[0]


def test_models_are_adopted_once_and_again_when_something_has_changed(tmp_path: Path) -> None:
    config = tmp_path / "config"
    store = parrot(tmp_path / "store").parent
    folder = samples(tmp_path / "samples" / "parrot", a__json=b"{}").parent
    ray = loaded(tmp_path, "engine=ray")
    found = running(store, ServedModel(version("parrot"), ()))

    def adopt() -> list[str]:
        plan = plan_deployment(found, folder, ray, config=config)
        return [line.partition(":")[0] for _, line, _ in adopt_each(plan, ray, ["engine=ray"], config=config)]

    assert adopt() == ["is adopted"]
    written = (config / "served_model" / "parrot.yaml").read_text()
    assert "batch_size: 4\n  max_batch_delay: 50\n  initial_workers: 2\n  response_timeout: 30\n" in written
    assert adopt() == ["is adopted already"]
    (config / "served_model" / "parrot.yaml").unlink()  # as a kill between both files leaves it
    assert adopt() == ["is adopted"]
    samples(folder / "parrot", b__json=b"{}")
    assert adopt() == ["is adopted"]
    plan = plan_deployment(found, folder, ray, config=config)
    parrot(tmp_path / "store", PARROT.replace("green", "blue"))
    [(_, line, adopted)] = adopt_each(plan, ray, ["engine=ray"], config=config)
    assert not adopted
    assert line == f"is not adopted: {store / 'parrot.mar'}: has changed since it was shown"
    samples(folder / "parrot", c__json=b'{"fail": 1}')
    plan = plan_deployment(found, folder, ray, config=config)
    [(_, line, adopted)] = adopt_each(plan, ray, ["engine=ray"], config=config)
    assert (adopted, "sample c.json: the handler fails with" in line) == (False, True)


def test_command_takes_one_model_and_fails_for_a_refused_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = parrot(tmp_path / "store").parent
    folder = samples(tmp_path / "samples" / "parrot", a__json=b"{}").parent
    models = (ServedModel(version("parrot"), (version("parrot", "2.0"),)), ServedModel(version("Unasked"), ()))
    found = running(store, *models, workflows=("chain",))
    monkeypatch.setattr(adopt_command, "read_running", lambda *_, **__: found)
    for name in ("plan_deployment", "adopt_each", "machine_settings"):
        part = functools.partial(getattr(adopt_command, name), config=tmp_path / "config")
        monkeypatch.setattr(adopt_command, name, part)

    def adopt(*words: str) -> tuple[int, str]:
        paths = (f"paths.state={tmp_path / 'state'}", f"paths.archives={tmp_path / 'mars'}")
        given = [f"torchserve={found.url}", f"samples={folder}", "trust=yes", "engine=ray", *paths, *words]
        return adopt_command.adopt(given), capsys.readouterr().out

    status, printed = adopt()
    assert status == 1
    assert "refused    Unasked: no samples" in printed
    assert "1 adopted, 0 failed, 1 refused, 2 left out" in printed
    status, printed = adopt("model=parrot")
    assert status == 0
    assert "1 adopted, 0 failed, 0 refused, 1 left out" in printed
    with pytest.raises(ConfigError, match="no model can be adopted"):
        adopt("model=unasked")
    assert "refused    Unasked: no samples" in capsys.readouterr().out
    with pytest.raises(ConfigError, match=r"serves no model 'gone'; its models: parrot, Unasked"):
        adopt("model=gone")


def test_archive_that_is_newer_than_its_workers_is_doubted(tmp_path: Path) -> None:
    store = parrot(tmp_path / "store").parent
    folder = samples(tmp_path / "samples" / "parrot", a__json=b"{}").parent
    worker = WorkerStatus(7, ready=True, started="2000-01-01T00:00:00.000Z")
    old = ModelVersion("parrot", "1.0", "parrot.mar", 1, 0, 1, 1, (worker,), 0, 9)
    plan = plan_deployment(running(store, ServedModel(old, ())), folder, loaded(tmp_path))
    assert any(line.startswith("WARNING") for line in plan.lines)


def test_property_with_which_handlers_get_other_requests_stops_the_adoption(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has decode_input_request=false, which is not offered here.* MAR_FILE="):
        check_adoptable(running(None, properties={"decode_input_request": "false"}))
    check_adoptable(running(None, properties={"job_queue_size": "5", "decode_input_request": "true"}))


def test_limits_go_into_the_settings_of_the_machine_and_an_existing_file_is_kept(tmp_path: Path) -> None:
    properties = {"job_queue_size": "7", "max_request_size": str(300 * 2**20)}
    model = ServedModel(version("parrot", response_timeout=600), ())
    found = running(None, model, properties=properties)
    local = tmp_path / "local" / "default.yaml"
    machine = machine_settings(found, loaded(tmp_path), config=tmp_path)
    assert machine.write("http://x") is None
    text = local.read_text()
    assert text.startswith("# @package _global_\n")
    values = {"job_queue_size: 7", "max_body_bytes: 314572800", "max_receiving_mb: 300", "deadline_ms: 600000"}
    assert values <= {line.strip() for line in text.splitlines()}
    assert machine.write("http://x") is None
    settings.load([f"{name}={value}" for name, value in machine.values.items()])
    local.write_text("# @package _global_\nengine: {job_queue_size: 9}\n")
    lacking = machine.write("http://x")
    assert lacking is not None
    assert "job_queue_size" not in lacking
    assert "max_body_bytes: 314572800" in lacking
    assert local.read_text() == "# @package _global_\nengine: {job_queue_size: 9}\n"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "did not answer in JSON"),
        (b"[]", "does not answer as TorchServe's Management API does"),
        (b'{"models": [{"name": 1}]}', "does not answer as TorchServe's Management API does"),
    ],
)
def test_program_that_is_no_torchserve_is_named(tmp_path: Path, body: bytes, words: str) -> None:
    with server(lambda _: (200, body)) as url, pytest.raises(EngineError, match=words):
        read_running(url, loaded(tmp_path))


def test_torchserve_that_is_down_or_slow_or_wants_a_token_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(EngineError, match=r"no TorchServe at http://127\.0\.0\.1:1; start it, or correct its address"):
        read_running("http://127.0.0.1:1/", loaded(tmp_path))
    with pytest.raises(ConfigError, match="is no address like"):
        read_running("127.0.0.1:8081", loaded(tmp_path))
    refused = json.dumps({"code": 400, "type": "InvalidKeyException", "message": "no"}).encode()
    keys = tmp_path / "keys.json"
    token = {"key": "k", "expiration time": "2000-01-01T00:00:00.000Z"}
    keys.write_text(json.dumps({"management": token, "inference": token, "API": {"key": "a"}}))
    asked: list[str] = []

    def refuse(path: str) -> tuple[int, bytes]:
        asked.append(path)
        return 400, refused

    with server(refuse) as url:
        with pytest.raises(EngineError, match=r"wants a token; KEY_FILE= names its key_file\.json"):
            read_running(url, loaded(tmp_path))
        with pytest.raises(EngineError, match=rf"does not accept the management token in {keys}.*renew it with the"):
            read_running(url, loaded(tmp_path), key_file=keys)
    assert not any(path.startswith("/token") for path in asked)  # a renewal would end the token of others
    waiting = threading.Event()
    monkeypatch.setattr(running_torchserve, "ANSWER_S", 0.2)
    with server(lambda _: (waiting.wait(5), (200, b"{}"))[1]) as url:
        with pytest.raises(EngineError, match=r"TorchServe did not answer GET /models in 0\.2 s"):
            read_running(url, loaded(tmp_path))
        waiting.set()


def test_description_of_a_deployment_sends_a_terminal_no_commands(tmp_path: Path) -> None:
    found = running(None, ServedModel(version("a\x1b[2J"), ()), workflows=("w\x1b[2J",))
    plan = plan_deployment(found, None, loaded(tmp_path))
    assert KEPT not in plan.lines
    assert KEPT in plan_deployment(found, None, loaded(tmp_path, "engine.external=true")).lines
    assert all(line.isprintable() for line in plan.lines)
    assert not (CONFIG / "served_model" / "a.yaml").exists()


def test_paths_that_are_missing_are_named_before_anything_is_asked(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(ConfigError, match=rf"{gone} does not exist: KEY_FILE= names TorchServe's key_file\.json"):
        read_running("http://127.0.0.1:1", loaded(tmp_path), key_file=gone)
    with pytest.raises(ConfigError, match=f"{gone} is no folder: MODEL_STORE= names TorchServe's model store"):
        read_running("http://127.0.0.1:1", loaded(tmp_path), model_store=gone)


def test_address_of_another_interface_is_named_with_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = {"inference_address": "http://127.0.0.1:9080", "management_address": "http://127.0.0.1:9081"}
    process = EngineProcess(1, (), tmp_path, properties, None, tmp_path, None)
    monkeypatch.setattr(running_torchserve, "_process", lambda _: process)
    right = r"is not TorchServe's Management API, which is at http://127\.0\.0\.1:9081"
    for port in (9080, 8082):  # the metrics have TorchServe's default port
        with pytest.raises(ConfigError, match=right):
            read_running(f"http://127.0.0.1:{port}", loaded(tmp_path))


def test_engine_of_others_keeps_its_ports(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        process = EngineProcess(os.getpid(), (), tmp_path, {}, None, tmp_path, None)
        found = replace(running(None), process=process)
        own = (f"engine.inference_port={port}",)
        moved = machine_settings(found, loaded(tmp_path, *own), config=tmp_path).values
        kept = machine_settings(found, loaded(tmp_path, *own, "engine.external=true"), config=tmp_path).values
    assert list(moved) == ["engine.inference_port"]
    assert kept == {}


def test_ports_beside_the_running_torchserve_are_settings_of_every_engine(tmp_path: Path) -> None:
    config = shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("local"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = f"engine.grpc_inference_port={server.getsockname()[1]}"
        process = EngineProcess(os.getpid(), (), tmp_path, {}, None, tmp_path, None)
        machine = machine_settings(replace(running(None), process=process), loaded(tmp_path, own), config=config)
    assert list(machine.values) == ["engine.grpc_inference_port"]
    assert machine.write("http://x") is None
    for engine in ("torchserve", "ray"):
        found = settings.load([f"engine={engine}"], config=config).engine
        assert {"engine.grpc_inference_port": found.grpc_inference_port} == machine.values
