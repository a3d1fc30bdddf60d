"""Settings and sources that the tests of this room share."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import settings
from archive import Archive
from handlers.model_handler import ModelHandler
from serialize.offline_handler import read_request, running_handler
from serialize.sample_requests import SampleRequest
from settings import Settings

with warnings.catch_warnings():
    # TorchServe's package leaves its version file open when it is imported.
    warnings.simplefilter("ignore", ResourceWarning)
    import ts.torch_handler.base_handler

assert ts.torch_handler.base_handler  # imported for the handlers that are built on it

# What is compared here is small, in this process and in those that the tests start.
torch.set_num_threads(1)
os.environ.setdefault("OMP_NUM_THREADS", "1")

Compose = Callable[..., Settings]


def worker_of(archive: Archive, folder: Path) -> ModelHandler:
    """Unpack an archive and return its handler, ready to answer."""
    for file in archive.files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read(file.name))
    return running_handler(folder, archive.manifest["model"]["handler"])


def answered(handler: ModelHandler, media_type: str, body: bytes) -> Any:
    """Return the one prediction of a handler for a picture."""
    read = read_request(handler, SampleRequest(media_type, body))
    [prediction] = handler.card.predictions({**handler.forward(read.inputs), **read.options})
    return prediction


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """Settings whose archives and weights lie in the test's own folder; the library is not asked, which takes seconds.

    `test_library_parity.py` asks it, and `sb3_parity.py` compares more with it, in this process.
    """

    def composed(name: str, *overrides: str) -> Settings:
        paths = [f"paths.archives={tmp_path / 'archives'}", f"paths.weights={tmp_path / 'weights'}"]
        return settings.load([f"served_model={name}", *paths, "parity.library=off", *overrides])

    return composed
