"""Provenance tells the command that builds an archive again: the same wherever and however it was typed."""

import shlex
from pathlib import Path

import settings
from serialize.model_json import build_command
from tests.serialize.conftest import Compose


def told(compose: Compose, name: str, *overrides: str) -> list[str]:
    return shlex.split(build_command(compose(name, *overrides).built_model))


def test_a_model_as_its_file_says_needs_its_name_alone(compose: Compose) -> None:
    for name in settings.models():
        assert told(compose, name) == ["python", "-m", "serialize", f"served_model={name}"]


def test_it_holds_what_differs_and_nothing_of_the_machine(compose: Compose, tmp_path: Path) -> None:
    overrides = [
        "served_model.artifact=eager",
        f"served_model.checkpoint={tmp_path / 'my policy.zip'}",
        "served_model.request_params.batch_size=3",
        "served_model.fields=null",
        "gateway.port=5010",
    ]
    expected = [
        "served_model=cartpole",
        "served_model.artifact=eager",
        "served_model.checkpoint=my policy.zip",
        "served_model.fields=null",
        "served_model.request_params.batch_size=3",
    ]
    assert told(compose, "cartpole", *overrides)[3:] == expected
    assert told(compose, "cartpole", *reversed(overrides))[3:] == expected


def test_a_url_is_told_without_its_secrets(compose: Compose) -> None:
    url = "https://me:word@models.example/policy.zip?token=secret"
    words = told(compose, "cartpole", f"served_model.checkpoint='{url}'")
    assert "served_model.checkpoint=https://models.example/policy.zip" in words


def test_the_command_composes_again(compose: Compose) -> None:
    model = compose("cartpole", "served_model.actions=[a,b]", "served_model.out_of_range=clip").built_model
    words = shlex.split(build_command(model))[3:]
    assert build_command(settings.load(words).built_model) == build_command(model)
