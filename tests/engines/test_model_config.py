"""Each key of a stranger's model-config.yaml is honoured, kept, left to the handler or refused by its name."""

import re
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from engines.engine_profile import ModelVersion
from engines.torchserve.model_config import FRONTEND, MAX_WORKERS, OFF, REGISTRATION, TORCHRUN, adopt_config
from errors import ArchiveError


def test_registration_keys_become_request_params() -> None:
    config = {
        "minWorkers": 2,
        "maxWorkers": 4,
        "batchSize": 8,
        "maxBatchDelay": 50,
        "responseTimeout": 7,
        "torchrun": {"OMP_NUMBER_THREADS": 3},
    }
    found = adopt_config(config)
    registered = {"initial_workers": 2, "batch_size": 8, "max_batch_delay": 50, "response_timeout": 7, "threads": 3}
    assert found.registration == registered
    assert found.file == {}
    assert "minWorkers: request_params.initial_workers" in found.notes
    assert any(note.startswith("maxWorkers: not used") for note in found.notes)


def test_frontend_keys_are_kept_and_unknown_ones_are_the_handlers() -> None:
    found = adopt_config({"startupTimeout": 5, "deviceType": "gpu", "handler": {"mode": "x"}})
    assert found.file == {"responseTimeout": 120, "startupTimeout": 5, "deviceType": "gpu"}
    assert set(found.notes) == {
        "startupTimeout: kept for TorchServe's frontend",
        "deviceType: kept for TorchServe's frontend",
        "handler: read by the handler",
    }


def test_archive_without_a_config_gets_one_request_at_a_time() -> None:
    assert adopt_config({}).registration == {"batch_size": 1, "max_batch_delay": 0, "initial_workers": 1}
    assert adopt_config({"batchSize": 4}).registration["max_batch_delay"] == 100


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        ({"parallelType": "tp"}, "asks for parallelType: 'tp', which is not offered here"),
        ({"useVenv": True}, "asks for useVenv: True"),
        ({"continuousBatching": True}, "asks for continuousBatching: True"),
        ({"torchrun": {"nproc-per-node": 2}}, "asks for torchrun, which spreads a worker over several processes"),
        ({"torchrun": 1}, "has torchrun: 1, which is not a mapping"),
        ({"batchSize": "many"}, "has batchSize: 'many', which must be a whole number from 1 on"),
        ({"minWorkers": 0}, "has minWorkers: 0, which must be"),
    ],
)
def test_key_that_is_not_offered_is_refused_by_name(config: dict[str, Any], reason: str) -> None:
    with pytest.raises(ArchiveError, match=re.escape(reason)):
        adopt_config(config)


def test_features_that_are_turned_off_are_accepted() -> None:
    assert adopt_config({"parallelType": "none", "useVenv": False, "parallelLevel": 1}).notes == ()


def compiled_class(name: str) -> bytes:
    """A class of TorchServe's frontend."""
    spec = find_spec("ts")
    assert spec is not None
    assert spec.origin is not None
    with zipfile.ZipFile(Path(spec.origin).parent / "frontend" / "model-server.jar") as jar:
        return jar.read(f"org/pytorch/serve/{name}.class")


def test_every_key_of_torchserve_is_known() -> None:
    """Its frontend calls a setter for each key, whose name the compiled class holds."""
    compiled = compiled_class("archive/model/ModelConfig").decode("latin-1")
    setters = set(re.findall(r"\bset([A-Z]\w+)", compiled))
    known = {*REGISTRATION, *FRONTEND, *OFF, MAX_WORKERS, TORCHRUN}
    assert len(setters) > 15
    assert {name for name in setters if name[0].lower() + name[1:] not in known} == set()


def test_timeouts_of_a_running_torchserve_are_those_of_the_file() -> None:
    """TorchServe takes a file's timeouts, and 120 s for one that is missing or 0, whatever a registration says."""
    served = ModelVersion("m", "1.0", "m.mar", 1, 0, 1, 1, (), 0, 100, response_timeout=30, startup_timeout=40)
    usual = ModelVersion("m", "1.0", "m.mar", 1, 0, 1, 1, (), 0, 100, response_timeout=30, startup_timeout=120)
    assert adopt_config({}).as_served(usual).file == {}
    found = adopt_config({"responseTimeout": 7}).as_served(served)
    assert found.file == {"responseTimeout": 30, "startupTimeout": 40}
    assert found.registration["response_timeout"] == 30
