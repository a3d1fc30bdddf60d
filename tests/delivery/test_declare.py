"""Archives put into the store without a rollout, and Ray Serve's configuration that names them."""

import hashlib
import json
import shlex
from pathlib import Path

import pytest
import yaml

from archive import write_zip
from delivery.__main__ import main
from delivery.declare import declare
from errors import ConfigError, StoreError
from settings import load
from tests.archive.made import CONTENTS, MANIFEST, checked

SAMPLE = {"content_type": "image/png", "body": "AA==", "predictions": [1]}


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Settings under which an archive of digits has been built, and nothing is published."""
    build(tmp_path, b"first weights")
    folders = {"paths.state": "state", "paths.archives": "built", "store.folder": "store"}
    return ["engine=ray", "store=local", *(f"{key}={tmp_path / name}" for key, name in folders.items())]


def build(folder: Path, weights: bytes) -> None:
    manifest = json.loads(CONTENTS[MANIFEST])
    manifest["model"]["modelName"] = "digits"
    card = {"schema_version": 1, "model_name": "digits", "kind": "vision"}
    golden = {"tolerance": 0.1, "samples": [SAMPLE]}
    made = {MANIFEST: manifest, "model.json": card, "golden.json": golden}
    content = {**CONTENTS, **{name: json.dumps(each).encode() for name, each in made.items()}, "model.onnx": weights}
    (folder / "built").mkdir(exist_ok=True)
    write_zip(checked(content), folder / "built" / "digits.mar")


def published(words: list[str], capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert main(["publish", "served_model=digits", *words, *more]) == 0
    return capsys.readouterr().out.split()[0]


def test_publish_command_assigns_a_version(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [published(words, capsys) for _ in range(2)] == ["digits-1.0"] * 2
    build(tmp_path, b"other weights")
    assert published(words, capsys) == "digits-1.1"
    assert published(words, capsys, "served_model.request_params.threads=1") == "digits-1.2"
    assert sorted(path.name for path in (tmp_path / "store").glob("*.mar")) == [
        "digits-1.0.mar", "digits-1.1.mar", "digits-1.2.mar"
    ]  # fmt: skip


def test_publish_command_without_archive_names_the_remedy(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "built" / "digits.mar").unlink()
    assert main(["publish", "served_model=digits", *words]) == 1


def test_declare_first_version_answers(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    published(words, capsys)
    build(tmp_path, b"other weights")
    published(words, capsys)
    config = yaml.safe_load(declare(["digits-1.1,1.0"], words))
    front, *workers = config["applications"]
    assert front["deployments"][0]["user_config"]["table"]["defaults"] == {"digits": "1.1"}
    assert [each["args"]["registration"]["version"] for each in workers] == ["1.1", "1.0"]
    params = load(["served_model=digits"]).served_model.request_params
    for worker in workers:
        registration = worker["args"]["registration"]
        stored = (tmp_path / "store" / registration["url"]).read_bytes()
        assert registration["sha256"] == hashlib.sha256(stored).hexdigest()
        assert (registration["batch_size"], registration["max_batch_delay"]) == (
            params.batch_size, params.max_batch_delay
        )  # fmt: skip
        assert worker["deployments"] == [{"name": "Worker", "num_replicas": params.initial_workers}]


def test_declare_command_prints_its_own_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    published(words, capsys)
    told = []
    for _ in range(2):
        assert main(["declare", "digits-1.0", *words]) == 0
        told.append(capsys.readouterr().out)
    assert told[0] == told[1]
    comment, _, config = told[0].partition("\n")
    assert shlex.split(comment)[:5] == ["#", "python", "-m", "delivery", "declare"]
    assert config == declare(["digits-1.0"], words)
    assert declare(shlex.split(comment)[5:6], shlex.split(comment)[6:]) == config


def test_declare_no_models(words: list[str]) -> None:
    [front] = yaml.safe_load(declare([], words))["applications"]
    assert front["deployments"][0]["user_config"] == {"table": {"entries": [], "defaults": {}}}


def test_declare_errors_name_the_remedy(words: list[str]) -> None:
    with pytest.raises(StoreError, match=r"digits-1\.0\.mar is not in the store; .* publish served_model=digits"):
        declare(["digits-1.0"], words)
    with pytest.raises(ConfigError, match="did you mean 'digits'"):
        declare(["digts-1.0"], words)
    with pytest.raises(ConfigError, match="MODEL-VERSION"):
        declare(["digits"], words)
    with pytest.raises(ConfigError, match="add engine=ray"):
        declare(["digits-1.0"], [word for word in words if word != "engine=ray"] + ["engine=torchserve"])
    with pytest.raises(ConfigError, match="store=s3: its links expire"):
        declare([], ["engine=ray", "store=s3"])


def test_declare_archive_under_another_name_is_refused(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published(words, capsys)
    (tmp_path / "store" / "digits-1.0.mar").rename(tmp_path / "store" / "digits-2.0.mar")
    with pytest.raises(StoreError, match=r"digits-2\.0\.mar holds digits 1\.0"):
        declare(["digits-2.0"], words)
