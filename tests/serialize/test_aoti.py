"""`aoti` is compiled for this machine, and only a machine like it runs it."""

import json
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch

from errors import BuildError
from handlers import card, runtimes
from serialize.build import build
from tests.serialize.conftest import Compose

# torch deprecates what parts of its own compiler still use.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
WORDS = ("served_model.weights=random", "served_model.artifact=aoti")


def test_aoti_export_without_a_compiler_is_refused(compose: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(BuildError, match=r"needs a C\+\+ compiler, and there is no no-such-compiler here"):
        build(compose("cartpole", *WORDS))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cartpole", "digits"])
def test_aoti_build_answers_as_framework_and_names_its_device(compose: Compose, tmp_path: Path, name: str) -> None:
    built = build(compose(name, *WORDS))
    assert built.parity.output < built.parity.tolerance == 1e-4
    assert built.archive.card["artifact"]["built_for"]["device"] == ("cuda" if torch.cuda.is_available() else "cpu")

    folder = tmp_path / "unpacked"
    with ZipFile(built.archive.path) as archive:
        archive.extractall(folder)
    document = json.loads((folder / "model.json").read_text())
    document["artifact"]["built_for"] = {"device": "tpu"}
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="compiled for tpu, this worker runs on"):
        runtimes.load(folder, card.load(folder / "model.json"))
    document["artifact"]["built_for"] = {"device": "cpu", "instructions": ["sve9"]}
    (folder / "model.json").write_text(json.dumps(document))
    with pytest.raises(ValueError, match="a CPU with sve9, which this one lacks"):
        runtimes.load(folder, card.load(folder / "model.json"))
