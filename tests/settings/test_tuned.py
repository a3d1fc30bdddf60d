"""What `make tune` wrote holds for the next registration, below the command line, and for nothing else."""

import logging
import shutil
from pathlib import Path

import pytest

from errors import ConfigError
from settings import load, models
from settings.load import CONFIG

WROTE = (
    "# Found by make tune\nrequest_params:\n  initial_workers: 2\n  threads: 1\n  batch_size: 8\n  max_batch_delay: 2\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of `config/` in which digits is tuned."""
    ignored = shutil.ignore_patterns("local", "*.tuned.yaml")
    copy = Path(shutil.copytree(CONFIG, tmp_path / "config", ignore=ignored))
    (copy / "served_model" / "digits.tuned.yaml").write_text(WROTE)
    return copy


def test_a_registration_takes_it_and_says_so(config: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        params = load(["rollout.tuned=true"], config=config, registering=True).served_model.request_params
    assert (params.initial_workers, params.threads, params.batch_size, params.max_batch_delay) == (2, 1, 8, 2)
    assert "digits: tuned settings of digits.tuned.yaml: initial_workers 2" in caplog.text
    assert "rollout.tuned=false" in caplog.text


def test_build_ignores_tuned_settings(config: Path) -> None:
    assert load(config=config).served_model.request_params == load().served_model.request_params


def test_tuned_settings_yield_to_command_line_and_switch(config: Path) -> None:
    given = ["rollout.tuned=true", "served_model.request_params.batch_size=3"]
    params = load(given, config=config, registering=True).served_model.request_params
    assert (params.batch_size, params.max_batch_delay) == (3, 2)
    aside = load(["rollout.tuned=false"], config=config, registering=True).served_model.request_params
    assert (aside.batch_size, aside.threads) == (4, None)


def test_tuned_file_affects_its_model_only(config: Path) -> None:
    weather = ["served_model=weather", "rollout.tuned=true"]
    assert load(weather, config=config, registering=True) == load(weather, config=config)
    assert models(config) == models()
    with pytest.raises(ConfigError) as caught:
        load(["served_model=digitz"], config=config)
    assert "tuned" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "must hold request_params"),
        ("request_params: [", "cannot be read"),
        ("request_params: {}", "must hold request_params"),
        ("request_params: {batch_size: many}", "request_params.batch_size: must be a valid integer"),
        ("request_params: {batch_size: true}", "request_params.batch_size"),
        ("request_params: {batch_size: 4}\nversion: '2'\n", "nothing else"),
        ("request_params: {batchsize: 4}", r"digits\.tuned\.yaml: request_params\.batchsize: "),
        ("request_params: {batch_size: 0}", r"digits\.tuned\.yaml: request_params\.batch_size: must be greater"),
    ],
)
def test_a_damaged_file_is_named_in_one_line(config: Path, content: str, words: str) -> None:
    (config / "served_model" / "digits.tuned.yaml").write_text(content)
    with pytest.raises(ConfigError, match=words) as caught:
        load(["rollout.tuned=true"], config=config, registering=True)
    assert "\n" not in str(caught.value)
