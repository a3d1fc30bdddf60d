"""Without Ray, which is optional, there is nothing to collect here."""

import importlib.util
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import Stack, left_running, new_stack
from tests.e2e.ray.bare import Engine
from tests.e2e.ray.serving import MODELS, PATIENT

collect_ignore_glob = ["test_*.py"] if importlib.util.find_spec("ray") is None else []


@pytest.fixture(scope="module")
def serving(archives: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with engine=ray that may be damaged, both demo models with two workers; its store is its own, too."""
    store = tmp_path_factory.mktemp("store")
    for model in MODELS:
        shutil.copy(archives / f"{model}.mar", store)
    made = new_stack(tmp_path_factory.mktemp("state"), store)
    made.env["MARINA_ENGINE"] = "ray"
    try:
        made.run("-m", "stack", "up", *PATIENT)
        for model in MODELS:
            made.run("upload_model.py", f"served_model={model}", "served_model.request_params.initial_workers=2")
        yield made
    finally:
        made.run("-m", "stack", "down")
    assert left_running(made) == []


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    folder = tmp_path_factory.mktemp("local")
    made = new_stack(tmp_path_factory.mktemp("state"), folder)
    made.env["MARINA_ENGINE"] = "ray"
    words = ("store=local", f"store.folder={folder}")
    try:
        made.run("-m", "stack", "up", *words)
        yield Engine(made)
    finally:
        made.run("-m", "stack", "down", *words)
    assert left_running(made) == []
