"""Archives that the kit did not make, on a running engine=ray; and what its Management API refuses."""

import json
from pathlib import Path

import pytest

from settings.load import ROOT
from tests.e2e.ray.bare import Engine
from tests.engines.python.archives import BASE, BROKEN, PLAIN, doubling, pack

pytestmark = [pytest.mark.e2e, pytest.mark.ray]
CLASSIFIER = """
import torch


class Colours(torch.nn.Module):
    def forward(self, pixels):
        return pixels.mean((2, 3)).repeat(1, 2)[:, :5]
"""


def test_a_plain_function_runs_unchanged_and_sets_one_items_status(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "numbers.json").write_text('{"plus": 100}')
    archive = pack(engine.stack.archives, "plain", tmp_path / "plain.py", extra_files=tmp_path / "numbers.json")
    answer = engine.register(archive)
    assert answer.status_code == 200, answer.text
    told = engine.ask("plain", b'{"numbers": [1, 2]}', **{"X-Request-Id": "mine"})
    assert (told.status_code, told.json()["sum"], told.headers["X-Asked-As"]) == (200, 103, "mine")
    refused = engine.ask("plain/1.0", b'{"numbers": []}', **{"X-Refuse": "yes"})
    assert (refused.status_code, refused.text) == (422, "no")


def test_a_subclass_of_base_handler_runs_unchanged(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "doubler.py").write_text(BASE)
    model = doubling(tmp_path / "twice.pt")
    archive = pack(engine.stack.archives, "doubler", tmp_path / "doubler.py", serialized_file=model)
    answer = engine.register(archive)
    assert answer.status_code == 200, answer.text
    assert engine.ask("doubler", b"[1, 2]").json()["doubled"] == [2.0, 4.0]


def test_torchserves_own_image_classifier_runs_unchanged(engine: Engine, tmp_path: Path) -> None:
    import io

    import torch
    from PIL import Image

    (tmp_path / "colours.py").write_text(CLASSIFIER)
    torch.save({}, tmp_path / "weights.pt")
    (tmp_path / "index_to_name.json").write_text(json.dumps({str(n): f"class {n}" for n in range(5)}))
    archive = pack(
        engine.stack.archives,
        "colours",
        "image_classifier",
        model_file=tmp_path / "colours.py",
        serialized_file=tmp_path / "weights.pt",
        extra_files=tmp_path / "index_to_name.json",
    )
    answer = engine.register(archive)
    assert answer.status_code == 200, answer.text
    picture = io.BytesIO()
    Image.new("RGB", (300, 280), (255, 0, 0)).save(picture, "PNG")
    told = engine.ask("colours", picture.getvalue(), "image/png")
    assert told.status_code == 200, told.text
    assert next(iter(told.json())) in {"class 0", "class 3"}
    assert sum(told.json().values()) == pytest.approx(1, abs=1e-5)


def test_a_handler_that_raises_is_told_in_torchserves_words(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    assert engine.register(pack(engine.stack.archives, "broken", tmp_path / "broken.py")).status_code == 200
    told = engine.ask("broken", b"{}")
    assert (told.status_code, told.json()["type"]) == (503, "InternalServerException")
    assert "nothing of this" not in told.text


def test_a_worker_that_does_not_start_is_a_failed_registration(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "never.py").write_text("def handle(data, context):\n    raise ValueError('no answer is right')\n")
    answer = engine.register(pack(engine.stack.archives, "never", tmp_path / "never.py"))
    assert answer.status_code == 500
    assert "Failed to start workers for model never version: 1.0" in answer.json()["message"]
    assert "no answer is right" in answer.json()["message"]
    assert engine.manage("GET", "/models/never").status_code == 404
    assert engine.ask("never", b"{}").status_code == 404


def test_the_kits_own_handler_that_misses_its_golden_answers_does_not_serve(engine: Engine, tmp_path: Path) -> None:
    import zipfile

    engine.stack.run("-m", "serialize", "served_model=cartpole")
    folder, wrong = engine.stack.archives, engine.stack.archives / "wrong.mar"
    with zipfile.ZipFile(folder / "cartpole.mar") as source, zipfile.ZipFile(wrong, "w") as target:
        for name in source.namelist():
            if name == "checksums.sha256":
                continue  # without it the archive is like one that the kit did not make
            content = source.read(name)
            if name == "golden.json":
                golden = json.loads(content)
                for sample in golden["samples"]:
                    for prediction in sample["predictions"]:
                        prediction["action"] = 1 - prediction["action"]
                content = json.dumps(golden).encode()
            target.writestr(name, content)
    answer = engine.register(wrong)
    assert answer.status_code == 500
    assert "golden answer" in answer.json()["message"]


@pytest.mark.parametrize("path", ["/models", "/models/plain", "/models/plain/all"])
def test_the_management_api_is_closed_without_its_key(engine: Engine, path: str) -> None:
    for key in ("", "nobodys", engine.key("inference"), engine.key("API")):
        answer = engine.manage("GET", path, key=key)
        assert (answer.status_code, answer.json()["type"]) == (400, "InvalidKeyException")
    assert engine.manage("DELETE", "/models/plain", key="").json()["type"] == "InvalidKeyException"


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/files/x.mar", "file:///etc/passwd", "../x.mar", f"{ROOT}/x.mar", "missing.mar"]
)
def test_an_archive_of_another_place_is_refused(engine: Engine, url: str) -> None:
    assert engine.manage("POST", "/models", url=url).status_code == 404


def test_words_that_are_no_numbers_are_refused(engine: Engine) -> None:
    assert engine.manage("POST", "/models", url="plain.mar", batch_size="many").status_code == 400
    assert engine.manage("POST", "/models").status_code == 400
    assert engine.manage("PUT", "/models/plain", min_worker=3, max_worker=2).status_code == 400
