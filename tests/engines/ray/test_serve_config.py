"""A table as Serve's configuration."""

import ast
import os
from pathlib import Path

import yaml

from engines.python.registry import ModelRegistry, RegisteredVersion, Registration
from engines.ray.serve_config import serve_config_text
from settings import load
from settings.load import ROOT
from settings.schema import RayServeSettings

MADE = Registration("digits", "1.0", "http://store:5002/files/digits-1.0.mar", "0" * 64, 8, 5, 120)
TABLE = ModelRegistry().put(RegisteredVersion(MADE, 3, 3))


def written(*overrides: str, table: ModelRegistry = TABLE) -> str:
    settings = load(["engine=ray", "store=nginx", *overrides])
    assert isinstance(settings.engine, RayServeSettings)
    return serve_config_text(table, settings, settings.engine)


def test_serve_config_has_an_application_for_each_version() -> None:
    config = yaml.safe_load(written())
    front, worker = config["applications"]
    assert (front["name"], front["route_prefix"]) == ("marina", "/")
    assert ModelRegistry.from_json(front["deployments"][0]["user_config"]["table"]) == TABLE
    assert (worker["name"], worker["route_prefix"]) == (MADE.application, None)
    assert Registration(**worker["args"]["registration"]) == MADE
    assert worker["deployments"] == [{"name": "Worker", "num_replicas": 3}]


def test_serve_config_names_existing_builders() -> None:
    for application in yaml.safe_load(written())["applications"]:
        module, _, function = application["import_path"].partition(":")
        tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())
        assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_serve_config_number_of_workers_is_no_argument() -> None:
    one, four = (
        yaml.safe_load(written(table=TABLE.put(RegisteredVersion(MADE, n, n))))["applications"][1] for n in (1, 4)
    )
    assert one.pop("deployments") != four.pop("deployments")
    assert one == four


def test_serve_config_follows_the_settings() -> None:
    words = ("engine.host=0.0.0.0", "engine.inference_port=7007", "engine.proxies=every", "engine.worker_cpus=2")
    config = yaml.safe_load(written(*words))
    assert (config["proxy_location"], config["http_options"]["host"]) == ("EveryNode", "0.0.0.0")
    assert config["http_options"]["port"] == 7007
    assert config["applications"][0]["args"]["address"] is None
    assert config["applications"][1]["args"]["cpus"] == 2


def test_serve_config_without_proxies_has_an_address() -> None:
    config = yaml.safe_load(written("engine.proxies=none", "engine.inference_port=7007"))
    assert config["proxy_location"] == "Disabled"
    assert config["applications"][0]["args"]["address"] == {"host": "127.0.0.1", "port": 7007}


def test_serve_config_contains_no_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("5e" * 32)
    config = written(f"engine.key_file={tmp_path / 'key_file.json'}")
    assert yaml.safe_load(config)["applications"][0]["args"]["secret_file"] == os.fspath(tmp_path / "secret")
    assert "5e5e" not in config


def test_serve_config_text_is_reproducible() -> None:
    assert written() == written()
    assert "&id" not in written()
