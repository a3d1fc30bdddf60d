"""The settings choose the engine, and what is missing is said before anything starts."""

import subprocess
import sys
from dataclasses import replace

import pytest

import engines
from engines.profiles import PROFILES, TORCHSERVE, check_installed
from errors import ConfigError
from settings import load
from settings.load import CONFIG, ROOT


def test_every_engine_that_can_be_configured_can_be_reached() -> None:
    choices = {path.stem for path in (CONFIG / "engine").glob("*.yaml")}
    assert choices <= set(PROFILES)
    for name in choices:
        settings = load([f"engine={name}"])
        profile = engines.profile(settings)
        assert profile.part == name
        assert (ROOT / profile.requirements).is_file()
        engines.connect(settings).close()


def test_an_unknown_engine_is_named_with_those_that_there_are() -> None:
    settings = load()
    other = settings.model_copy(update={"engine": settings.engine.model_copy(update={"name": "triton"})})
    with pytest.raises(ConfigError, match="no engine 'triton'; there are ray, torchserve"):
        engines.connect(other)


def test_an_engine_whose_package_is_missing_says_how_to_get_it() -> None:
    check_installed(TORCHSERVE)
    with pytest.raises(ConfigError, match=r"pip install -r requirements-engine\.txt"):
        check_installed(replace(TORCHSERVE, package="no_such_package"))


def test_the_environment_may_name_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARINA_ENGINE", "torchserve")
    assert load().engine.name == "torchserve"
    monkeypatch.setenv("MARINA_ENGINE", "torchserv")
    with pytest.raises(ConfigError, match=r"config/engine/torchserv\.yaml: no such file; did you mean 'torchserve'"):
        load()


def test_engines_import_no_http_client_before_a_connection() -> None:
    program = (
        "import sys, settings, engines; loaded = settings.load(); engines.profile(loaded); "
        "first = [m for m in ('requests', 'aiohttp') if m in sys.modules]; engines.connect(loaded).close(); "
        "print(first, 'requests' in sys.modules, 'aiohttp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["[]", "True", "False"]
