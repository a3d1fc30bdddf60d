"""Rollouts by `make compose_upload` and `make compose_rollback` under load: no client notices any of them."""

import json
import shutil
from pathlib import Path

import requests

from tests.containers.load import load
from tests.containers.project import Project, offer
from tests.containers.waiting import wait_until_well
from tests.e2e.conftest import new_stack
from tests.e2e.trials import CANARY, write_broken
from tests.e2e.uploads import DELAY

UNSEEN = "no request came"


def version(project: Project) -> str:
    """The version of cartpole that answers."""
    address = f"{project.gateway}/models/cartpole/predict"
    answer = requests.post(address, json=[0, 0, 0.1, 0.5], headers=project.headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["version"])


def test_a_swap_and_a_rollback_under_load_lose_nothing_and_are_watched(core: Project) -> None:
    before = version(core)
    with load(core) as answered:
        swapped = core.make("compose_upload", MODEL="cartpole", ARGS=f"{DELAY}=2")
        after = version(core)
        pictures = core.make("compose_upload", MODEL="digits", ARGS=f"{DELAY}=6")
        back = core.make("compose_rollback", MODEL="cartpole")
        core.make("compose_rollback", MODEL="digits")
    assert answered.failures == {}
    assert answered.requests > 1000
    assert after != before
    assert version(core) == before
    assert f"cartpole {after} serves now" in swapped
    assert f"cartpole {before} serves again" in back
    for printed in (swapped, pictures, back):
        assert UNSEEN not in printed


def test_a_good_canary_is_promoted(core: Project) -> None:
    before = version(core)
    with load(core, models=["cartpole"]) as answered:
        printed = core.make("compose_upload", MODEL="cartpole", ARGS=" ".join([*CANARY, f"{DELAY}=3"]))
        after = version(core)
        core.make("compose_rollback", MODEL="cartpole")
    assert answered.failures == {}
    assert f"cartpole {after} serves now" in printed
    report = json.loads((core.folder / f"docker/data/delivery/trials/cartpole-{after}.json").read_text())
    assert report["failed_because"] is None
    assert sum(report["evidence"]["new"]["answers"].values()) >= 20
    assert version(core) == before


def test_a_bad_canary_is_withdrawn_and_no_client_pays_for_it(core: Project, archives: Path) -> None:
    before = version(core)
    write_broken(archives / "cartpole.mar", core.folder / "model_mars" / "broken", "fails")
    place = ("paths.archives=model_mars/broken", "store.folder=model_mars")
    with load(core, models=["cartpole"]) as answered:
        printed = core.make("compose_upload", status=2, MODEL="cartpole", ARGS=" ".join([*CANARY, *place]))
    assert answered.failures == {}
    assert "was withdrawn: " in printed
    assert "failed (5xx)" in printed
    assert f"version {before} serves as before" in printed
    assert version(core) == before


def test_a_version_typed_as_a_number_is_that_version(core: Project, archives: Path, tmp_path: Path) -> None:
    before = version(core)
    refused = core.make("compose_upload", status=2, MODEL="cartpole", ARGS="served_model.version=2.0")
    assert "is version 1.0, not 2.0; `make generate_mar MODEL=cartpole ARGS=served_model.version=2.0`" in refused
    new_stack(tmp_path / "state", tmp_path).run("-m", "serialize", "served_model=cartpole", "served_model.version=2.0")
    shutil.copy(tmp_path / "cartpole.mar", core.folder / "model_mars")
    core.make("compose_upload", MODEL="cartpole", ARGS="served_model.version=2.0")
    assert version(core) == "2.0"
    wait_until_well(core)
    core.make("compose_rollback", MODEL="cartpole")
    offer(core, archives)
    assert version(core) == before
