"""A TorchServe that somebody else started: adopted under load by the documented commands, and delivered into."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from delivery.adopt_torchserve import KEPT
from engines.torchserve.property_uses import USES
from settings.load import ROOT
from tests.archive.foreign_archives import samples
from tests.e2e.conftest import Stack, left_running, new_stack
from tests.e2e.torchserve_by_hand import (
    MODELS,
    Clients,
    TorchServeByHand,
    ask,
    changed_parrot,
    right,
    torchserve_by_hand,
    write_samples,
)
from tests.e2e.uploads import QUICK
from tests.polling import wait_for

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.slow,
    pytest.mark.torchserve(reason="what others have started is TorchServe"),
]

PAGE = ROOT / "docs" / "coming-from-torchserve.md"
CANARY = ("canary.weight=0.5", "canary.minutes=0.1", "canary.min_requests=5", "canary.max_latency_ratio=1000")
# A slow machine is no failure: who waits gets an answer.
PATIENT = {"engine.start_timeout_s": 600, "gateway.deadline_ms": 120000, "gateway.admission.max_wait_ms": 120000}
SLOW_S = 900.0


def write_documented_settings(engine: TorchServeByHand) -> None:
    """Write the settings of the page, for this TorchServe."""
    [block] = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    found = yaml.safe_load(block)
    env = engine.stack.env
    values: dict[str, Any] = {
        "external": True,
        "host": "127.0.0.1",
        **{name: int(env[f"MARINA_{name.upper()}"]) for name in found["engine"] if name.endswith("_port")},
        "key_file": str(engine.key_file),
        "unpacked": str(engine.temporary / "models"),
        "model_store": str(engine.store),
    }
    assert found == {"engine": {name: found["engine"][name] for name in values}}
    path = Path(engine.stack.env["MARINA_CONFIG"]) / "local" / "default.yaml"
    path.parent.mkdir()
    path.write_text(f"# @package _global_\n{yaml.safe_dump({'engine': values})}")


def new_home(folder: Path) -> Stack:
    """A clone: a configuration of its own, nothing started."""
    shutil.copytree(ROOT / "config", folder / "config", ignore=shutil.ignore_patterns("local"))
    (folder / "archives").mkdir()
    stack = new_stack(folder / "state", folder / "archives")
    stack.env["MARINA_CONFIG"] = str(folder / "config")
    return stack


@contextmanager
def running(stack: Stack) -> Iterator[Stack]:
    """`make up`, and `make down` at the end."""
    try:
        stack.run("-m", "stack", "up", *_words(PATIENT), timeout_s=SLOW_S)
        yield stack
    finally:
        stack.run("-m", "stack", "down")


def adopt(engine: TorchServeByHand, *words: str, status: int = 0) -> str:
    requests_folder = write_samples(engine.folder / "requests")
    source = (f"torchserve={engine.management}", f"samples={requests_folder}")
    return engine.stack.run(
        "-m", "delivery", "adopt", *source, *words, *_words(PATIENT), status=status, timeout_s=SLOW_S
    )


def _words(overrides: dict[str, int]) -> list[str]:
    return [f"{name}={value}" for name, value in overrides.items()]


def serving(engine: TorchServeByHand) -> list[str]:
    """The default versions of both models; "" for one that is not there yet."""
    return [engine.default_version(model) for model in MODELS]


TOKENS = pytest.mark.parametrize("tokens", [pytest.param(False, id="no-tokens"), pytest.param(True, id="tokens")])


@contextmanager
def external_torchserve(factory: pytest.TempPathFactory, *, tokens: bool) -> Iterator[TorchServeByHand]:
    """One that lets the store register, and Marina's settings for it."""
    stack = new_home(factory.mktemp("home"))
    [block] = re.findall(r"```properties\n(.*?)```", PAGE.read_text(), re.DOTALL)
    documented = dict(line.split("=", 1) for line in block.replace("http://127.0.0.1:5002", stack.files).splitlines())
    properties = {**documented, "job_queue_size": "77"}
    with torchserve_by_hand(factory.mktemp("theirs"), stack, tokens=tokens, properties=properties) as engine:
        write_documented_settings(engine)
        yield engine
    assert left_running(stack) == []


def upload(stack: Stack) -> None:
    for model in MODELS:
        stack.run("upload_model.py", f"served_model={model}", *QUICK, timeout_s=SLOW_S)


@TOKENS
def test_torchserve_of_others_is_adopted_and_delivered_into_and_no_client_loses_a_request(
    tmp_path_factory: pytest.TempPathFactory, *, tokens: bool
) -> None:
    with external_torchserve(tmp_path_factory, tokens=tokens) as engine:
        stack = engine.stack
        with Clients(engine.inference, engine.authorization()) as clients:
            _adopted(engine)
            clients.wait_for_answers()
            with running(stack):
                upload(stack)
                clients.switch(stack.gateway, {})
                clients.wait_for_answers()
                _delivered(engine)
                clients.wait_for_answers()
                clients.switch(engine.inference, engine.authorization())  # the page's way back
                clients.wait_for_answers()
        assert clients.lost == []
        assert {path.name for path in engine.store.glob("*.mar")} >= {f"{model}.mar" for model in MODELS}


def _adopted(engine: TorchServeByHand) -> None:
    shown = adopt(engine, status=1)
    assert "add trust=yes if you trust its maker" in shown
    configured = dict(re.findall(r"^property   (\w+)=.*  (taken|set|unused): \S", shown, re.MULTILINE))
    written = (engine.folder / "config.properties").read_text().splitlines()
    assert configured == {key: USES[key].outcome for key in (line.partition("=")[0] for line in written)}
    assert KEPT in shown
    assert "job_queue_size=77  taken: engine.job_queue_size" in shown
    printed = adopt(engine, "trust=yes")
    assert "2 adopted, 0 failed, 0 refused, 0 left out" in printed
    assert "adopted already" in adopt(engine, "trust=yes")


def _delivered(engine: TorchServeByHand) -> None:
    """Roll a new version out after a canary, and roll it back."""
    stack = engine.stack
    assert serving(engine) == ["1.1", "1.1"]
    words = (str(changed_parrot(engine.folder / "changed")), str(engine.folder / "requests" / "parrot"))
    stack.run("-m", "delivery", "adopt", *words, "trust=yes", *_words(PATIENT), timeout_s=SLOW_S)
    stack.run("upload_model.py", "served_model=parrot", *QUICK, *CANARY, timeout_s=SLOW_S)
    assert serving(engine) == ["1.2", "1.1"]
    stack.run("-m", "delivery", "rollback", "served_model=parrot", *QUICK, timeout_s=SLOW_S)
    assert serving(engine) == ["1.1", "1.1"]
    assert "parrot" in stack.run("-m", "delivery", "models")


def test_models_come_back_after_a_kill_and_those_of_a_second_torchserve_join_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with external_torchserve(tmp_path_factory, tokens=True) as engine:
        stack = engine.stack
        _wrong_store_is_named(engine, tmp_path_factory.mktemp("copies"))
        adopt(engine, "trust=yes")
        with running(stack):
            upload(stack)
            assert _open(stack) == {}
            engine.kill()
            engine.start()
            wait_for(lambda: serving(engine) == ["1.1", "1.1"], SLOW_S)
            _answers_are_right(stack, *MODELS)
            wait_for(lambda: _open(stack) == {}, SLOW_S)  # the version that TorchServe loads itself is drained first
            _second_is_adopted(engine, tmp_path_factory)
            assert _open(stack) == {}


def _wrong_store_is_named(engine: TorchServeByHand, other: Path) -> None:
    """A folder that exists, and has none of the archives."""
    printed = adopt(engine, f"model_store={other}", "trust=yes", status=1)
    for model in MODELS:
        missing = f"refused    {model}: its archive {model}.mar is missing: {other / model}.mar does not exist"
        assert missing in printed
    assert "or name the folder that TorchServe has it from with MODEL_STORE=" in printed
    assert "no model can be adopted; the lines above say why" in printed


def _second_is_adopted(engine: TorchServeByHand, factory: pytest.TempPathFactory) -> None:
    """Another TorchServe on other ports, without tokens, whose workflow is left out."""
    ports = new_stack(factory.mktemp("ports"), factory.mktemp("none"))
    with torchserve_by_hand(factory.mktemp("second"), ports, tokens=False, models=("ranker",)) as second:
        second.register_workflow()
        folder = engine.folder / "requests"
        samples(folder / "ranker", numbers__json=b"[2, 1]")
        words = (f"torchserve={second.management}", f"samples={folder}", "trust=yes", *_words(PATIENT))
        printed = engine.stack.run("-m", "delivery", "adopt", *words, timeout_s=SLOW_S)
        assert "left out   chain: a workflow; adopt its models, and chain them in business.py" in printed
        assert "1 adopted, 0 failed, 0 refused, 2 left out" in printed
    engine.stack.run("upload_model.py", "served_model=ranker", *QUICK, timeout_s=SLOW_S)
    _answers_are_right(engine.stack, *MODELS, "ranker")


def _answers_are_right(stack: Stack, *models: str) -> None:
    for model in models:
        response = ask(stack.gateway, model, 5, {})
        assert right(response, model, 5), response.text


def _open(stack: Stack) -> dict[str, str]:
    """What `make doctor` calls open; how full this machine's disk is, is not the stack's doing."""
    with stack.start("-m", "delivery", "doctor", "--json") as doctor:
        findings = json.loads(doctor.communicate()[0])
    return {each["hole"]: each["seen"] for each in findings if each["state"] == "open" and each["part"] != "machine"}
