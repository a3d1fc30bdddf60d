"""Settings compose for every choice there is, and every mistake is named with its file, key and nearest valid name."""

import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError
from requests.utils import should_bypass_proxies

from errors import ConfigError
from settings import load, models
from settings.load import CONFIG, ROOT


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONFIG / group).glob("*.yaml"))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A copy of `config/` that a test may spoil."""
    return Path(shutil.copytree(CONFIG, tmp_path / "config", ignore=shutil.ignore_patterns("local")))


@pytest.mark.parametrize(
    ("model", "engine", "store"), list(itertools.product(models(), choices("engine"), choices("store")))
)
def test_every_model_engine_and_store_compose(model: str, engine: str, store: str) -> None:
    settings = load([f"served_model={model}", f"engine={engine}", f"store={store}"])
    assert settings.served_model.model_name == model
    assert (settings.engine.name, settings.store.name) == (engine, store)


def test_the_five_models_of_the_contract_are_configured() -> None:
    tritons = ("simple", "simple_identity", "simple_image", "simple_int8", "simple_string")
    others = ("digits", "genre_classifier", "imagenet_resnet18")
    assert models() == ("cartpole", "custom_identity_int32", "densenet_onnx", *others, *tritons, "weather")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("served_model.chekpoint=x", ["command line", "'served_model.chekpoint'", "'served_model.checkpoint'"]),
        ("+served_model.foo=1", ["command line", "unknown key 'served_model.foo'"]),
        ("+served_model.preprocessing.meen=1", ["command line", "'served_model.preprocessing.mean'"]),
        ("served_model=digitz", ["config/served_model/digitz.yaml", "'digits'", "weather"]),
        ("store=nginks", ["config/store/nginks.yaml", "'nginx'"]),
        ("served_model.request_params.batch_size=abc", ["request_params.batch_size", "integer", "'abc'"]),
        ("served_model.request_params.batch_size='4'", ["request_params.batch_size", "integer", "'4'"]),
        ("served_model.request_params.batch_size=0", ["request_params.batch_size", "greater than or equal to 1"]),
        ("gateway.port=99999", ["command line", "gateway.port", "65535"]),
        ("served_model.artifact=onx", ["served_model.artifact", "'onnx'", "'onx'"]),
        ("served_model.handler=nowhere.py", ["command line", "served_model.handler", "no file 'nowhere.py'"]),
        ("served_model.preprocessing.resize=64", ["preprocessing", "shorter side needs a crop"]),
        ("served_model.labels=[a,a]", ["labels must differ", "more than once: a"]),
        ("served_model.output.thresholds=[0.5]", ["1 thresholds for 10 labels"]),
        ("served_model.preprocessing.std=[1,1,0]", ["std must be positive"]),
        ("stress.url=ftp://x", ["command line", "stress.url"]),
        ("tune.slo=p99:80", ["tune.slo", "like p99:80ms", "'p99:80'"]),
        ("served_model.model_name=Digits", ["served_model.model_name", "like digits", "'Digits'"]),
        ("served_modl=digits", ["command line", "'served_modl'", "'served_model'"]),
        ("gatway.port=1", ["command line", "'gatway'", "'gateway'"]),
        ("nonsense", ["command line", "'nonsense'", "NAME=VALUE"]),
        ("--rounds", ["command line", "'--rounds'", "NAME=VALUE"]),
        ("gateway.aliases=[", ["command line", "'gateway.aliases=['", "quotes"]),
        ("served_model.checkpoint=${nowhere}", ["nowhere"]),
        ("hydra.run.dir=x", ["command line", "'hydra.run.dir'", "Hydra's own launcher"]),
        ("+hydra.job.chdir=true", ["command line", "'hydra.job.chdir'"]),
        ("hydra/launcher=joblib", ["command line", "'hydra/launcher'"]),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_that_names_it(override: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load([override])
    message = str(caught.value)
    assert "\n" not in message
    assert [word for word in words if word not in message] == []
    assert message.count(", not ") <= 1


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        pytest.param(
            "served_model/digits.yaml", "batch_size:", "batchsize:",
            ["config/served_model/digits.yaml", "'served_model.request_params.batchsize'", "batch_size'"],
            id="misspelt key",
        ),
        pytest.param(
            "served_model/digits.yaml", "checkpoint: ${paths.weights}/digits.pt\n", "",
            ["config/served_model/digits.yaml", "served_model.checkpoint is missing"],
            id="missing key",
        ),
        pytest.param(
            "stress/default.yaml", "clients: 8", "clients: many",
            ["config/stress/default.yaml", "stress.clients", "'many'"],
            id="wrong type",
        ),
        pytest.param("gateway/default.yaml", "port: ", "port: [", ["gateway/default.yaml"], id="not YAML"),
        pytest.param(
            "gateway/default.yaml", "request: state,", "request: stat,",
            ["config/gateway/default.yaml", "gateway.aliases.1.request", "'state'"],
            id="unknown form of an alias",
        ),
    ],
)  # fmt: skip
def test_tuned_file_mistake_is_one_line_naming_it(
    config: Path, file: str, old: str, new: str, words: list[str]
) -> None:
    path = config / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as caught:
        load(config=config)
    assert "\n" not in str(caught.value)
    assert [word for word in words if word not in str(caught.value)] == []


def test_local_file_overrides_and_is_named_in_errors(config: Path) -> None:
    local = config / "local" / "default.yaml"
    local.parent.mkdir()
    local.write_text("# @package _global_\ngateway:\n  port: 5999\n")
    assert load(config=config).gateway.port == 5999
    local.write_text("# @package _global_\ngateway:\n  port: none\n")
    with pytest.raises(ConfigError, match=r"config/local/default\.yaml: gateway\.port: must be .*'none'"):
        load(config=config)


def test_second_load_sees_the_files_and_the_environment_of_its_time_and_no_earlier_override(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(["gateway.port=5999", "served_model.labels=[a,b]"], config=config)
    second = load(config=config)
    assert (first.gateway.port, second.gateway.port) == (5999, 5003)
    assert second == load(config=config) != first
    file = config / "gateway" / "default.yaml"
    file.write_text(file.read_text().replace("AIP_HTTP_PORT,5003", "AIP_HTTP_PORT,5001"))
    assert load(config=config).gateway.port == 5001
    monkeypatch.setenv("MARINA_ENGINE", "ray")
    assert load(config=config).engine.name == "ray"
    (config / "local").mkdir()
    (config / "local" / "default.yaml").write_text("# @package _global_\ngateway:\n  port: 5002\n")
    assert load(config=config).gateway.port == 5002


@pytest.mark.parametrize(
    ("before", "last"),
    [("gateway={port:5999}", "gateway.port=5998"), ("gateway.port=5999", "gateway={port:5998}")],
)
def test_of_two_overrides_the_last_counts_whatever_its_form(before: str, last: str) -> None:
    assert load([before, last]).gateway.port == 5998


def test_the_environment_moves_ports_and_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MARINA_GATEWAY_PORT", "6003")
    monkeypatch.setenv("MARINA_STATE", str(tmp_path))
    settings = load()
    assert settings.gateway.port == 6003
    assert settings.stress.url == "http://127.0.0.1:6003"
    assert settings.engine.key_file == str(tmp_path / "torchserve" / "key_file.json")


def test_relative_folders_are_below_the_project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MARINA_WEIGHTS", raising=False)
    assert load().paths.weights == str(ROOT / "weights")


def test_field_named_as_a_list_of_observations_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"served_model\.fields.*must not hold 'instances'"):
        load(["served_model=cartpole", "served_model.fields=[instances,b,c,d]"])


def test_settings_cannot_be_changed_after_they_were_checked() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(load().gateway, "port", 1)  # noqa: B010 -- the type checker refuses the plain assignment, too


def test_torchserve_may_fetch_from_the_store_only() -> None:
    import re

    pattern = load(["store=nginx", "store.port=5002"]).store.allowed_urls
    assert re.fullmatch(pattern, "http://127.0.0.1:5002/files/digits-1.0.mar")
    for url in ("http://127.0.0.1:5002/files/../x.mar", "http://127.0.0.1:5002@evil/files/x.mar", "file:///etc/x.mar"):
        assert not re.fullmatch(pattern, url)


def test_light_modules_import_neither_torch_nor_numpy() -> None:
    program = "import sys, settings, stack.lifecycle, delivery.rollout, gateway, loadtest; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {"torch", "numpy", "torchvision"}.isdisjoint(done.stdout.split())


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_load_proxy_in_the_environment_is_none_for_this_machine(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for each in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv(name, "intern.example")
    load()
    for address in ("http://127.0.0.1:8081", "http://localhost:5002", "http://[::1]:8081", "http://127.0.0.2"):
        assert should_bypass_proxies(address, no_proxy=None), address
    assert should_bypass_proxies("http://models.intern.example", no_proxy=None)
    assert not should_bypass_proxies("http://elsewhere.example", no_proxy=None)


def test_load_no_proxy_for_anything_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setenv("NO_PROXY", "")
    load()
    assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "*"


def test_empty_socket_is_none() -> None:
    assert load(["gateway.socket=''"]).gateway.socket is None
