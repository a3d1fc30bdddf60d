"""The output kind of docs/add-a-model.md is one file, and all that handles predictions reads it."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.console import stats
from gateway.oip.repository import model_config
from gateway.openapi import prediction_paths
from gateway.served_models import ServedVersion
from handlers import card, golden, outputs
from settings import load
from settings.schema import VisionModel
from tests.handlers.archives import vision_card

ROOT = Path(__file__).resolve().parents[2]
STARS = {"stars": 4.0, "probabilities": {"5": 0.5, "3": 0.5}}


@pytest.fixture
def documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The documented file, in a folder that is searched as if it were handlers/outputs."""
    page = (ROOT / "docs" / "add-a-model.md").read_text()
    found = re.search(r"`handlers/outputs/(stars\.py)`.*?```python\n(.*?)```", page, re.DOTALL)
    assert found is not None
    (tmp_path / found[1]).write_text(found[2])
    monkeypatch.setattr(outputs, "__path__", [*outputs.__path__, str(tmp_path)])
    outputs.kinds.cache_clear()
    yield
    sys.modules.pop("handlers.outputs.stars", None)
    outputs.kinds.cache_clear()


def stars_card() -> dict[str, Any]:
    return vision_card() | {"task": "stars", "labels": ["1", "3", "5"]}


def served() -> ServedVersion:
    return ServedVersion("reviews", "1.0", True, 1, 1, 1, 1, 1, 1, 0, 100, stars_card())


@pytest.mark.usefixtures("documented")
class TestNewKind:
    def test_worker_answers_in_its_json(self, tmp_path: Path) -> None:
        (tmp_path / "model.json").write_text(json.dumps(stars_card()))
        read = card.load(tmp_path / "model.json")
        assert read.network_outputs == (outputs.NetworkOutput("logits", (3,)),)
        logits = np.array([[-1e3, 0, 0]], dtype=np.float32)
        assert read.predictions({"logits": logits}) == [{"stars": 4.0, "probabilities": {"3": 0.5, "5": 0.5, "1": 0.0}}]

    def test_open_inference_protocol_has_its_tensors(self) -> None:
        assert model_config(served(), "torchserve")["output"] == [
            {"name": "stars", "data_type": "TYPE_FP32", "dims": [-1]}
        ]
        [tensor] = outputs.output_tensors(stars_card())
        assert tensor.read(STARS) == [4.0]

    def test_golden_answers_and_shadows_compare_as_it_says(self) -> None:
        assert golden.exceeds_tolerance([STARS], [STARS | {"stars": 4.1}], 0.01) is not None
        responses = [json.dumps({"predictions": [STARS | {"stars": stars}]}).encode() for stars in (4.0, 4.4, 4.6)]
        near, far = (outputs.compare_responses(responses[0], other, 0.01) for other in responses[1:])
        assert (near.differs, far.differs) == (False, True)
        assert far.change == pytest.approx(0.6)

    def test_console_and_openapi_show_it(self) -> None:
        assert stats.version_state(served())["view"]["chosen"] == "stars"
        operation = prediction_paths(load([]).gateway)["/models/{model}/predict"]["post"]
        examples = operation["responses"]["200"]["content"]["application/json"]["examples"]
        assert examples["stars"]["value"]["predictions"] == [{"stars": 3.7, "probabilities": {"4": 0.7, "3": 0.3}}]


def test_a_configured_task_is_an_output_kind() -> None:
    model = load(["served_model=digits", "+served_model.task=classify"]).served_model
    assert isinstance(model, VisionModel)
    assert model.task == "classify"
    with pytest.raises(Exception, match=r"task.*'action', 'binary', 'classify'"):
        load(["served_model=digits", "+served_model.task=sing"])


def test_every_kind_is_named_as_its_module() -> None:
    assert [kind.name for kind in outputs.kinds()] == [
        "action",
        "adopted",
        "binary",
        "classify",
        "detect",
        "embed",
        "multilabel",
        "regress",
        "segment",
        "tensors",
    ]
    assert [type(kind).__module__ for kind in outputs.kinds()] == [
        f"handlers.outputs.{kind.name}" for kind in outputs.kinds()
    ]
