"""What is registered: pure values that travel to the Front and back."""

import json
import re

import pytest

from engines.python.registry import FRONTEND, ModelRegistry, RegisteredVersion, Registration, is_ours


def entry(version: str, model: str = "digits", workers: int = 1) -> RegisteredVersion:
    made = Registration(model, version, f"http://store/{model}-{version}.mar", "0" * 64, 8, 5, 120)
    return RegisteredVersion(made, workers, workers)


def test_registry_first_version_is_the_default() -> None:
    table = ModelRegistry().put(entry("1.0")).put(entry("1.1"))
    assert table.defaults == {"digits": "1.0"}
    assert table.find("digits", None) == entry("1.0")
    assert table.with_default("digits", "1.1").find("digits", None) == entry("1.1")


def test_registry_changed_entry_keeps_its_position() -> None:
    table = ModelRegistry().put(entry("1.0")).put(entry("1.1")).put(entry("1.0", workers=3))
    assert table.entries == (entry("1.0", workers=3), entry("1.1"))


def test_registry_model_is_gone_with_its_last_version() -> None:
    table = ModelRegistry().put(entry("1.0")).put(entry("1.1")).put(entry("2.0", "cartpole"))
    assert table.models() == ["cartpole", "digits"]
    left = table.without(entry("1.1")).without(entry("2.0", "cartpole"))
    assert (left.models(), left.defaults) == (["digits"], {"digits": "1.0"})
    assert left.without(entry("1.0")) == ModelRegistry()


@pytest.mark.parametrize("version", ["9.9", None])
def test_registry_unknown_version_is_not_found(version: str | None) -> None:
    assert ModelRegistry().put(entry("1.0")).find("nobody", version) is None


def test_registry_survives_json() -> None:
    table = ModelRegistry().put(entry("1.0")).put(entry("2.0", "cartpole", 4)).with_default("digits", "1.0")
    assert ModelRegistry.from_json(json.loads(json.dumps(table.as_json()))) == table


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("a-1", "2"), ("a", "1-2")),
        (("a@1", "2"), ("a", "1@2")),
        (("a%401", "2"), ("a@1", "2")),
        (("a/1", "2"), ("a", "1/2")),
    ],
)
def test_application_name_is_unique_to_a_version(one: tuple[str, str], other: tuple[str, str]) -> None:
    names = {entry(version, model).registration.application for model, version in (one, other)}
    assert len(names) == 2
    assert all(is_ours(name) for name in names)


@pytest.mark.parametrize(("model", "version"), [("../../etc", "1"), ("a", "../b"), ("a#b:c", "1"), ("ü", "1.0")])
def test_application_name_is_a_plain_file_name(model: str, version: str) -> None:
    name = entry(version, model).registration.application
    assert re.fullmatch(r"[A-Za-z0-9_.~%@-]+", name)
    assert name.split("@")[0] == FRONTEND


def test_is_ours_excludes_the_frontend_and_foreign_applications() -> None:
    assert [name for name in (FRONTEND, "default", "marina2", "marina-digits-1") if is_ours(name)] == []
