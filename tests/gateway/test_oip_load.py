"""The parameters of a load: Triton's configuration becomes batch settings, and nothing else is taken."""

import json
from typing import Any

import pytest

from errors import UnreadableInput
from gateway.oip.load_config import registration_of

TAKEN: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "batch": ({"max_batch_size": 8}, {"batch_size": 8}),
    "delay": ({"dynamic_batching": {"max_queue_delay_microseconds": "12000"}}, {"max_batch_delay": 12}),
    "short delay": ({"dynamic_batching": {"max_queue_delay_microseconds": 100}}, {"max_batch_delay": 1}),
    "no delay named": ({"dynamic_batching": {}}, {}),
    "workers": ({"instance_group": [{"count": 2}, {"name": "b", "count": 1}, {}]}, {"initial_workers": 4}),
    "sent back": ({"name": "m", "platform": "x", "backend": "y", "max_batch_size": 0, "input": [], "output": []}, {}),
}


@pytest.mark.parametrize(("config", "settings"), TAKEN.values(), ids=TAKEN.keys())
def test_config_of_a_load_becomes_batch_settings(config: dict[str, Any], settings: dict[str, int]) -> None:
    assert registration_of({"config": json.dumps(config)}) == settings


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "files": ({"file:1/model.onnx": "AA=="}, "'file:1/model.onnx' is not read"),
    "no JSON": ({"config": "{"}, "config is not valid JSON"),
    "a list": ({"config": "[]"}, "config must be an object"),
    "a number": ({"config": 7}, "config must be an object"),
    "unknown key": (
        {"config": '{"optimization": {}}'},
        "config: optimization is not applied by a load; max_batch_size",
    ),
    "preferred sizes": (
        {"config": '{"dynamic_batching": {"preferred_batch_size": [4]}}'},
        "dynamic_batching.preferred_batch_size is not applied",
    ),
    "GPU": ({"config": '{"instance_group": [{"kind": "KIND_GPU"}]}'}, "instance_group.kind is not applied"),
    "odd group": ({"config": '{"instance_group": 2}'}, "instance_group must be an object"),
    **{
        f"batch of {value}": ({"config": f'{{"max_batch_size": {value}}}'}, "max_batch_size must be a whole number")
        for value in ("-1", "2.5", "true", "false", '"x"', '""', "[]", "1e3", "99999999999")
    },
}


@pytest.mark.parametrize(("parameters", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_load_parameter_that_is_not_applied_is_refused_by_name(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(UnreadableInput) as caught:
        registration_of(parameters)
    assert words in caught.value.detail
