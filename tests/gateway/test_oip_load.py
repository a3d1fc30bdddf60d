"""A load: Triton's configuration becomes batch settings, nothing else is taken, and failures have their reason."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import pytest
import requests

from errors import ConfigError, UnreadableInput
from gateway.oip.load_config import registration_of
from tests.gateway.given import GivenTorchServe
from tests.gateway.served import gateway_for

TAKEN: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "batch": ({"max_batch_size": 8}, {"batch_size": 8}),
    "delay": ({"dynamic_batching": {"max_queue_delay_microseconds": "12000"}}, {"max_batch_delay": 12}),
    "short delay": ({"dynamic_batching": {"max_queue_delay_microseconds": 100}}, {"max_batch_delay": 1}),
    "no delay": ({"dynamic_batching": {"max_queue_delay_microseconds": 0}}, {"max_batch_delay": 0}),
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
    "no workers": ({"config": '{"instance_group": []}'}, "instance_group gives initial_workers=0: it must be"),
    "many workers": (
        {"config": '{"instance_group": [{"count": 5000}]}'},
        "instance_group gives initial_workers=5000: it must be less than or equal to",
    ),
    "large batch": ({"config": '{"max_batch_size": 70000}'}, "max_batch_size gives batch_size=70000: it must be"),
    "long delay": (
        {"config": '{"dynamic_batching": {"max_queue_delay_microseconds": 90000000}}'},
        "max_queue_delay_microseconds gives max_batch_delay=90000: it must be",
    ),
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


class BrokenConfiguration:
    """A control whose configuration cannot be read."""

    def names(self) -> Sequence[str]:
        raise ConfigError("config/served_model/x.yaml: line 3 is no YAML")

    def configured(self) -> Collection[str]:
        return ("x",)

    def load(self, model: str, registration: Mapping[str, int]) -> None:
        raise NotImplementedError

    def unload(self, model: str) -> None:
        raise NotImplementedError


@pytest.fixture(scope="module")
def broken(given: GivenTorchServe) -> Iterator[str]:
    with gateway_for(given, control=BrokenConfiguration()) as url:
        yield url


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "models/x/ready"), ("POST", "repository/index"), ("POST", "repository/models/x/load")],
)
def test_configuration_that_cannot_be_read_is_unavailable_with_its_reason(broken: str, method: str, path: str) -> None:
    answer = requests.request(method, f"{broken}/v2/{path}", timeout=30)
    assert (answer.status_code, "line 3 is no YAML" in answer.json()["error"]) == (503, True), answer.text


def test_ready_models_are_listed_while_the_configuration_cannot_be_read(broken: str) -> None:
    answer = requests.post(f"{broken}/v2/repository/index", json={"ready": True}, timeout=30)
    assert [each["name"] for each in answer.json()] == ["cartpole", "digits"]
