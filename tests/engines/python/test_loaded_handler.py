"""Handlers that the kit did not write run as in TorchServe's worker, and their failures stay theirs."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from settings.load import ROOT
from tests.engines.python.archives import BASE, BROKEN, PLAIN, doubling, pack

# A worker's process has one handler, so each test has a process of its own.
RUN = """
import json, sys, zipfile
from pathlib import Path
from engines.python.loaded_handler import LoadedHandler
from engines.python.registry import Registration
from tests.engines.python.archives import asked

folder, batch = Path(sys.argv[1]), json.loads(sys.argv[2])
handler = LoadedHandler(folder, Registration("model", "1.0", "", "", 4, 0, 60), "docker/metrics.yaml", None)
responses, samples = handler.answer([asked(each["body"].encode("latin-1"), **each["more"]) for each in batch])
print(json.dumps({
    "told": [[each.status, dict(each.headers), each.body.decode("latin-1")] for each in responses],
    "samples": [sample[0] for sample in samples],
    "torch": "torch" in sys.modules,
}))
"""


def unpacked(archive: Path) -> Path:
    folder = archive.with_suffix("")
    with zipfile.ZipFile(archive) as source:
        source.extractall(folder)
    return folder


def ask(folder: Path, *batch: tuple[object, dict[str, str]]) -> dict[str, Any]:
    given = [{"body": body if isinstance(body, str) else json.dumps(body), "more": more} for body, more in batch]
    command = [sys.executable, "-W", "ignore", "-c", RUN, str(folder), json.dumps(given)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    (tmp_path / "plain.py").write_text(PLAIN)
    (tmp_path / "numbers.json").write_text('{"plus": 100}')
    return unpacked(pack(tmp_path, "plain", tmp_path / "plain.py", extra_files=tmp_path / "numbers.json"))


def test_handler_function_sets_the_status_of_one_item(plain: Path) -> None:
    answer = ask(plain, ({"numbers": [1, 2]}, {}), ({"numbers": [0]}, {"X_Refuse": "yes"}), ({"numbers": []}, {}))
    [first, refused, third] = answer["told"]
    assert (first[0], json.loads(str(first[2]))) == (200, {"sum": 103, "batch": 3})
    assert first[1] == {"x-asked-as": "id"}
    assert (refused[0], refused[2]) == (422, "no")
    assert json.loads(str(third[2])) == {"sum": 100, "batch": 3}
    assert answer["torch"] is False
    assert "PredictionTime" in answer["samples"]


def test_handler_class_runs_a_torchscript_file(tmp_path: Path) -> None:
    (tmp_path / "doubler.py").write_text(BASE)
    archive = pack(tmp_path, "doubler", tmp_path / "doubler.py", serialized_file=doubling(tmp_path / "twice.pt"))
    [one, other] = ask(unpacked(archive), ([1, 2], {}), ([3, 4], {}))["told"]
    assert json.loads(str(one[2])) == {"doubled": [2.0, 4.0], "device": "cpu"}
    assert json.loads(str(other[2]))["doubled"] == [6.0, 8.0]


def test_handler_exception_fails_its_batch_as_in_torchserve(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    answer = ask(unpacked(pack(tmp_path, "broken", tmp_path / "broken.py")), ({}, {}), ({}, {}))
    for status, _, body in answer["told"]:
        assert status == 503
        assert json.loads(str(body)) == {
            "code": 503,
            "type": "InternalServerException",
            "message": "Prediction failed",
        }


def test_handler_imports_its_own_module_before_the_projects(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("import errors\ndef handle(data, context):\n    return data and [errors.WORD]\n")
    (tmp_path / "errors.py").write_text("WORD = 'mine'\n")
    folder = unpacked(pack(tmp_path, "own", tmp_path / "own.py", extra_files=tmp_path / "errors.py"))
    assert ask(folder, ({}, {}))["told"][0][2] == "mine"


FORM = '--b\r\nContent-Disposition: form-data; name="data"\r\n\r\ntext\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("body", "more", "row"),
    [
        ("{broken", {}, "{'body': bytearray(b'{broken')}"),
        ("text", {"media_type": "text/plain"}, "{'body': 'text'}"),
        ("x", {"media_type": "image/png"}, "{'body': bytearray(b'x')}"),
        ("a=1&b=", {"media_type": "application/x-www-form-urlencoded"}, "{'a': b'1', 'b': b''}"),
        ("1", {"query": "size=2"}, "{'size': b'2', 'body': 1}"),
        (FORM, {"media_type": "multipart/form-data; boundary=b"}, "{'data': 'text'}"),
    ],
)
def test_handler_input_is_torchserves(tmp_path: Path, body: str, more: dict[str, str], row: str) -> None:
    (tmp_path / "shown.py").write_text("def handle(data, context):\n    return data and [repr(row) for row in data]\n")
    folder = unpacked(pack(tmp_path, "shown", tmp_path / "shown.py"))
    assert ask(folder, (body, more))["told"][0][2] == row
