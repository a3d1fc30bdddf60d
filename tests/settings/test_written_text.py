"""A text setting is what was written, on the command line and in YAML, whatever number it looks like."""

import shutil
from pathlib import Path

import pytest
import yaml

from errors import ConfigError
from settings import load
from settings.load import CONFIG
from settings.written_text import Written, schema_of, settle

DIGITS = "0" * 64
LONG = pytest.param(f"a.b={'9' * 5000}", id="many digits")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of `config/` that a test may change."""
    return Path(shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("local")))


def with_local(config: Path, text: str) -> Path:
    local = config / "local" / "default.yaml"
    local.parent.mkdir(exist_ok=True)
    local.write_text(f"# @package _global_\n{text}\n")
    return config


VERSIONS = ["1.10", "2.0", "2", "1.0.0", "007", "2024.01"]
NO_VERSIONS = ["0x10", "1_0", ".5", "5.", "1e3", "on", "true", "-1", "1.0-rc1", "inf"]


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_as_written(config: Path, version: str) -> None:
    assert load([f"served_model.version={version}"]).served_model.version == version
    assert load([f"++served_model.version='{version}'"]).served_model.version == version
    local = with_local(config, f"served_model:\n  version: {version}")
    assert load(config=local).served_model.version == version


@pytest.mark.parametrize("version", NO_VERSIONS)
def test_version_that_is_none_is_refused_as_written(config: Path, version: str) -> None:
    with pytest.raises(ConfigError, match=r"served_model\.version: must be like 1\.0 or 2\.3\.1, not ") as caught:
        load([f"served_model.version={version}"])
    assert str(caught.value).endswith(f"not '{version}'")
    with pytest.raises(ConfigError, match=r"config/local/default\.yaml: served_model\.version") as caught:
        load(config=with_local(config, f"served_model:\n  version: {version}"))
    assert str(caught.value).endswith(f"not '{version}'")


LABELS = ["no", "yes", "1.10", "on", "true", "0x10", "007", "1e3", "12:30", "two words", "5"]


def test_labels_are_as_written(config: Path) -> None:
    named = f"[{','.join(LABELS)}]"
    given = [f"served_model.labels={named.replace('12:30', repr('12:30'))}", "served_model.output.top_k=3"]
    found = load(given).served_model
    assert found.kind == "vision"
    assert found.labels == LABELS
    assert found.output.top_k == 3
    model = config / "served_model" / "digits.yaml"
    content = yaml.safe_load(model.read_text())
    del content["labels"]
    for written in (f"labels: {named}", "labels:\n" + "".join(f"  - {label}\n" for label in LABELS)):
        model.write_text(yaml.safe_dump(content) + written + "\n")
        found = load(config=config).served_model
        assert found.kind == "vision"
        assert found.labels == LABELS


def test_key_of_a_checkpoint_and_first_digits_of_a_checksum_are_text() -> None:
    model = load(["served_model.checkpoint_key=1", "served_model.sha256=12345678"]).built_model
    assert (model.checkpoint_key, model.sha256) == ("1", "12345678")


@pytest.mark.parametrize("written", ["off", "'off'"])
def test_word_of_a_choice_that_yaml_reads_as_false_is_the_word(config: Path, written: str) -> None:
    assert load(config=with_local(config, f"parity:\n  library: {written}")).parity.library == "off"
    assert load([f"parity.library={written}"]).parity.library == "off"


def test_api_key_in_a_list_keeps_its_hash_of_digits(config: Path) -> None:
    entry = f"{{name: console, sha256: {DIGITS}, rate: null}}"
    for loaded in (
        load([f"gateway.security.api_keys=[{entry}]"]),
        load(config=with_local(config, f"gateway:\n  security:\n    api_keys: [{entry}]")),
    ):
        (key,) = loaded.gateway.security.api_keys
        assert (key.sha256, key.rate) == (DIGITS, None)


def test_numbers_and_switches_stay_what_they_are(config: Path) -> None:
    overrides = ["gateway.port=5010", "served_model.output.thresholds=1", "served_model.channels_last=true"]
    loaded = load(overrides, config=config)
    assert loaded.gateway.port == 5010
    assert loaded.served_model.kind == "vision"
    assert loaded.served_model.output.thresholds == 1.0
    assert loaded.served_model.channels_last is True
    with pytest.raises(ConfigError, match=r"batch_size: must be a valid integer, not 4\.0"):
        load(["served_model.request_params.batch_size=4.0"])


def test_function_and_reference_of_hydra_still_work() -> None:
    assert load(["served_model.version=str(3)"]).served_model.version == "3"
    assert load(["served_model.description=${engine.name}"]).served_model.description == "torchserve"
    labels = load(["served_model.labels=['${engine.name}',1.0]"]).served_model
    assert labels.kind == "vision"
    assert labels.labels == ["torchserve", "1.0"]


def test_text_with_quotes_beside_a_number_survives() -> None:
    found = load(['served_model.labels=[1.0,"it\'s",\'say "x"\']']).served_model
    assert found.kind == "vision"
    assert found.labels == ["1.0", "it's", 'say "x"']


def test_choice_of_several_values_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError) as caught:
        load(["served_model.version=1.0,2.0"])
    assert "\n" not in str(caught.value)


def test_keys_of_a_group_are_text() -> None:
    tree = {Written(True, "on"): Written(1.5, "1.50")}
    assert settle(tree, schema_of(["gateway", "aliases"])) == {"on": 1.5}


@pytest.mark.parametrize("override", ["engine=1", "served_model=2", "engine=null", "=3", LONG])
def test_override_that_hydra_cannot_take_is_one_line(override: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([override])
    assert str(caught.value).startswith(f"command line: {override[:50]}")
    assert "\n" not in str(caught.value)
