"""config.properties: its format, and the use of every key that TorchServe knows."""

import re

import pytest

from engines.torchserve.config_properties import parse_properties, resolved
from engines.torchserve.property_uses import USES, markdown_table, notes, taken_settings
from settings.load import ROOT, load
from tests.engines.test_model_config import compiled_class


def test_text_is_read_as_java_reads_it() -> None:
    text = "# no\n! no\n a = 1 \nb:2\nc 3\n\nlong=one,\\\n   two\npath=C\\:\\\\x\\u0041\nempty=\na=4\n"
    assert parse_properties(text) == {
        "a": "4", "b": "2", "c": "3", "long": "one,two", "path": "C:\\xA", "empty": ""
    }  # fmt: skip


def test_variables_are_resolved_where_the_environment_has_them() -> None:
    found = resolved({"a": "$$HOME$$/x", "b": "$$NONE$$"}, {"HOME": "/root"})
    assert found == {"a": "/root/x", "b": "$$NONE$$"}


def test_every_key_that_torchserve_reads_has_a_use() -> None:
    compiled = compiled_class("util/ConfigManager")
    # Each constant of the class that names a key, TS_JOB_QUEUE_SIZE, stands beside its text, job_queue_size.
    fields = re.findall(rb"\x01\x00.TS_([A-Z_]+)", compiled)
    named = {field.decode().lower() for field in fields} & {
        text.decode() for text in re.findall(rb"\x01\x00.([a-z_]+)", compiled)
    }
    assert len(named) > 50
    assert named - USES.keys() == set()


def test_settings_that_take_a_value_exist_and_take_it() -> None:
    taken = taken_settings(dict.fromkeys(USES, "500") | {"token_expiration_min": "never"})
    assert "engine.token_expiration_min" not in taken
    loaded = load([f"{name}={value}" for name, value in taken.items()])
    assert (loaded.engine.job_queue_size, loaded.gateway.max_body_bytes) == (500, 500)


def test_each_key_gets_a_line_without_a_password() -> None:
    lines = [str(note) for note in notes({"keystore_pass": "secret", "job_queue_size": "5", "mystery": "1"})]
    assert lines[0] == "job_queue_size=5  taken: engine.job_queue_size"
    assert lines[1].startswith("keystore_pass=***  unused: ")
    assert lines[2] == "mystery=1  unused: TorchServe 0.12 does not know this key"
    [vmargs] = map(str, notes({"vmargs": "-Xmx4g -Djavax.net.ssl.keyStorePassword=se=cret -Dpassword=secret -Da=b"}))
    assert vmargs.startswith("vmargs=-Xmx4g -Djavax.net.ssl.keyStorePassword=*** -Dpassword=*** -Da=b  set: ")
    [snapshot] = map(str, notes({"model_snapshot": '{\n  "models": {}' + 300 * " " + "," + 300 * "x"}))
    assert snapshot.startswith('model_snapshot={ "models": {} ,xxx')
    assert "xxx...  unused: serving.json" in snapshot
    assert len(snapshot) < 300


@pytest.mark.parametrize(
    ("key", "value", "outcome"),
    [
        ("decode_input_request", "false", "refused"),
        ("decode_input_request", "True", "unused"),
        ("service_envelope", "", "unused"),
        ("service_envelope", "kserve", "refused"),
    ],
)
def test_only_values_that_change_a_handlers_requests_are_refused(key: str, value: str, outcome: str) -> None:
    assert [note.outcome for note in notes({key: value})] == [outcome]


def test_page_holds_the_table_of_the_command() -> None:
    page = ROOT / "docs" / "coming-from-torchserve.md"
    assert page.read_text().endswith(f"\n\n{markdown_table()}\n"), "write property_uses.markdown_table() at its end"


def test_settings_named_in_the_table_exist() -> None:
    text = "\n".join(path.read_text() for path in sorted((ROOT / "config").rglob("*.yaml")))
    for use in USES.values():
        for name in re.findall(r"`(?:engine|gateway|rollout|paths|request_params)[a-z_.]*\.([a-z_]+)`", use.words):
            assert f"{name}:" in text
