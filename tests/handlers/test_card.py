import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from handlers import card, runtimes
from handlers.card import Card
from handlers.outputs import NetworkOutput
from handlers.spaces import Box
from tests.handlers.archives import policy_card, vision_card


def load(folder: Path, document: Any) -> Card:
    path = folder / "model.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return card.load(path)


def test_a_picture_models_card_is_read(tmp_path: Path) -> None:
    read = load(tmp_path, vision_card())
    assert read.vision is not None
    assert read.observation is None
    assert read.vision.preprocessing.size == (4, 4)
    assert read.output_settings.thresholds == (0.5, 0.5, 0.5)
    assert (read.limits.max_pixels, read.limits.max_instances) == (100_000_000, 64)
    assert read.network_outputs == (NetworkOutput("logits", (3,)),)
    assert read.document == vision_card()


def test_a_policys_card_is_read(tmp_path: Path) -> None:
    read = load(tmp_path, policy_card())
    assert read.observation is not None
    assert read.network_outputs == (NetworkOutput("logits", (2,)),)
    space = read.observation.space
    assert isinstance(space, Box)
    assert space.low.dtype == space.high.dtype == np.float32
    assert space.high.tolist() == [np.float32(4.8), np.inf, 0.5, np.inf]
    assert space.low.tolist() == [-np.float32(4.8), -np.inf, -0.5, -np.inf]


def changed(document: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return the document with the value at the dotted path replaced, or removed where it is `...`."""
    document = json.loads(json.dumps(document))
    *parents, key = path.split(".")
    inner = document
    for parent in parents:
        inner = inner[parent]
    if value is ...:
        del inner[key]
    else:
        inner[key] = value
    return document


BROKEN: dict[str, tuple[Any, str]] = {
    "truncated": (json.dumps(vision_card())[:200], "model.json is truncated or not JSON"),
    "empty": ("", "model.json is truncated or not JSON"),
    "a-list": ([], "model.json must hold a JSON object, not a list"),
    "of-another-schema": (changed(vision_card(), "schema_version", 2), "schema_version must be 1"),
    "without-kind": (changed(vision_card(), "kind", ...), "model.json: kind is missing"),
    "of-unknown-kind": (changed(vision_card(), "kind", "sound"), "one of vision, policy, tensors, not sound"),
    "of-unknown-weights": (changed(vision_card(), "weights", "good"), "weights must be one of"),
    "file-elsewhere": (changed(vision_card(), "artifact.file", "../model.onnx"), "artifact: file must be a file name"),
    "batch-size-0": (changed(vision_card(), "request_params.batch_size", 0), "batch_size must be a whole number"),
    "batch-size-true": (changed(vision_card(), "request_params.batch_size", True), "batch_size must be a whole number"),
    "labels-twice": (changed(vision_card(), "labels", ["a", "a", "b"]), "labels contains a duplicate"),
    "labels-text": (changed(vision_card(), "labels", "a"), "labels must be a list of texts"),
    "resize-text": (changed(vision_card(), "preprocessing.resize", "4"), "preprocessing: resize must be"),
    "resize-of-one": (changed(vision_card(), "preprocessing.resize", [4]), "list of 2 whole numbers"),
    "no-size": (changed(vision_card(), "preprocessing.resize", 4), "crop is needed"),
    "interpolation": (changed(vision_card(), "preprocessing.interpolation", "cubic"), "interpolation must be one of"),
    "thresholds-short": (changed(vision_card(), "output.thresholds", [0.5]), "thresholds must be one number, or 3"),
    "threshold-2": (changed(vision_card(), "output.thresholds", 2), "thresholds must be one number"),
    "unknown-task": (changed(vision_card(), "task", "sing"), "task must be one of action, binary, classify, "),
    "activation": (changed(vision_card(), "output.activation", "tanh"), "activation must be one of softmax, none"),
    "no-labels": (changed(vision_card(), "labels", ...), "model.json: labels is missing"),
    "top-k-0": (changed(vision_card(), "output.top_k", 0), "top_k must be a whole number"),
    "no-preprocessing": (changed(vision_card(), "preprocessing", None), "preprocessing must be an object, not null"),
    "fields-short": (changed(policy_card(), "observation.fields", ["a"]), "fields names 1 numbers"),
    "observation-discrete": (changed(policy_card(), "observation.space.type", "discrete"), "type must be one of box"),
    "observation-dtype": (changed(policy_card(), "observation.space.dtype", "float33"), "dtype is not a numpy type"),
    "observation-text": (changed(policy_card(), "observation.space.dtype", "str"), "dtype must be a floating"),
    "bounds-short": (changed(policy_card(), "observation.space.low", [1, 2]), "low must be a number, null, or such"),
    "bounds-crossed": (changed(policy_card(), "observation.space.low", 5), "low is above high"),
    "out-of-range": (changed(policy_card(), "observation.out_of_range", "wrap"), "out_of_range must be one of"),
    "action-type": (changed(policy_card(), "action.space.type", "tuple"), "type must be one of discrete"),
    "action-n": (changed(policy_card(), "action.space.n", 0), "n must be a whole number of at least 1"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_card_is_refused_with_file_and_key(tmp_path: Path, name: str) -> None:
    document, words = BROKEN[name]
    with pytest.raises(ValueError, match=r"model\.json") as caught:
        load(tmp_path, document)
    assert words in str(caught.value)


def test_a_missing_card_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the archive has no model\.json"):
        card.load(tmp_path / "model.json")


def test_stamped_settings_reach_worker_and_description(tmp_path: Path) -> None:
    read = load(tmp_path, policy_card()).stamped({"modelVersion": "1.1", "threads": 3, "coalesce": 64})
    assert runtimes.threads(read) == 3
    assert read.document["request_params"] == {**policy_card()["request_params"], "threads": 3, "coalesce": 64}


@pytest.mark.parametrize("threads", [0, -2, "4", None, 1.5, True])
def test_invalid_stamp_is_ignored(tmp_path: Path, threads: object) -> None:
    before = load(tmp_path, policy_card())
    assert before.stamped({"threads": threads}) == before
