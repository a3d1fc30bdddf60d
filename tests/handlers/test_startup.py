import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from handlers import runtimes
from handlers.model_handler import warm_up
from tests.handlers import archives
from tests.handlers.archives import ROOT, png
from tests.handlers.conftest import Load
from tests.handlers.worker import Worker, parsed, picture


def test_worker_with_wrong_golden_answer_does_not_start(vision_with: Load) -> None:
    wrong = {**archives.RED, "confidence": 0.98}
    with pytest.raises(ValueError, match=r"golden answer 0 differs: \$\[0\]\.confidence is 0\.999909 instead of 0\.98"):
        vision_with(archives.vision_golden(wrong))


def test_worker_that_refuses_a_golden_request_does_not_start(policy_with: Load) -> None:
    golden = archives.policy_golden()
    golden["samples"][0]["body"] = "WzFd"  # [1]
    with pytest.raises(ValueError, match="golden request 0 is refused: an observation has shape"):
        policy_with(golden)


def test_a_network_of_the_wrong_width_does_not_start(vision_with: Load) -> None:
    with pytest.raises(ValueError, match=r"must return logits of shape \[1, 4\], it returned \{'logits': \[1, 3\]\}"):
        vision_with(labels=["red", "green", "blue", "grey"])


def test_network_that_fails_at_batch_size_does_not_start(load: Load, tmp_path: Path) -> None:
    folder = archives.write(tmp_path, "vision_handler.py", archives.vision_card(), archives.vision_golden())
    example = torch.zeros(1, 4, 4, 3, dtype=torch.uint8)
    archives.export(archives.ColourNetwork(), example, folder / "model.onnx", "logits", fixed=True)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        load(folder, batch_size=2)


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [(1, [1]), (2, [1, 2]), (8, [1, 2, 4, 8]), (6, [1, 2, 4, 6])], ids=["1", "2", "8", "6"]
)
def test_warm_up_runs_every_batch_size_once(batch_size: int, sizes: list[int]) -> None:
    run: list[int] = []

    def forward(inputs: NDArray[np.generic]) -> dict[str, NDArray[np.generic]]:
        run.append(len(inputs))
        assert inputs.shape[1:] == (2,)
        return {}

    warm_up(np.zeros((3, 2)), batch_size, forward)
    assert run == sizes


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"artifact": {"format": "caffe", "file": "model.onnx"}}, "caffe is not one of .*eager, onnx, .*torchscript"),
        ({"artifact": {"format": "eager", "file": "model.onnx"}}, "artifact: network is missing"),
    ],
    ids=["format", "network"],
)
def test_an_artifact_that_cannot_be_loaded_does_not_start(
    vision_with: Load, change: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        vision_with(**change)


@pytest.mark.parametrize("missing", ["model.json", "golden.json", "model.onnx"])
def test_an_archive_without_a_file_does_not_start(load: Load, tmp_path: Path, missing: str) -> None:
    folder = archives.vision(tmp_path)
    (folder / missing).unlink()
    with pytest.raises(ValueError, match=f"the archive has no {missing}"):
        load(folder)


def test_a_handler_of_the_other_kind_does_not_start(load: Load, tmp_path: Path) -> None:
    folder = archives.vision(tmp_path)
    (folder / "policy_handler.py").write_text((ROOT / "handlers" / "policy_handler.py").read_text())
    with pytest.raises(ValueError, match="kind is not policy, but the handler is PolicyHandler"):
        load(folder, "policy_handler.py")


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch announces the end of the format
def test_torchscript_answers_as_onnx_does(load: Load, tmp_path: Path, vision: Worker) -> None:
    artifact = {"format": "torchscript", "file": "model.pt"}
    scripted = load(archives.vision(tmp_path, archives.vision_card(artifact=artifact)))
    for colour in [(255, 0, 0), (10, 200, 30), (7, 7, 7)]:
        expected, actual = (worker.one(picture(png(colour))).json for worker in (vision, scripted))
        assert actual == expected


def test_eager_network_is_built_from_description_and_weights(load: Load, tmp_path: Path) -> None:
    network = {
        "type": "policy",
        "observation": {"encoding": "flatten", "scale": 1.0},
        "widths": [4, 2],
        "activation": "Tanh",
        "head": {"type": "logits"},
    }
    card = archives.policy_card(artifact={"format": "eager", "file": "model.pt", "network": network})
    folder = archives.write(tmp_path, "policy_handler.py", card, archives.policy_golden())
    torch.save({"layers.0.weight": torch.eye(4)[:2], "layers.0.bias": torch.zeros(2)}, folder / "model.pt")
    worker = load(folder, "policy_handler.py")
    assert worker.one(parsed([[2, 1, 0, 0], [1, 2, 0, 0]])).predictions == [{"action": 0}, {"action": 1}]


@pytest.fixture
def threads_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Threads of a worker on a machine of eight cores."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))

    def threads(workers: int, **changes: Any) -> int:
        from handlers import card

        params = {"batch_size": 1, "max_batch_delay": 0, "initial_workers": workers}
        (tmp_path / "model.json").write_text(json.dumps(archives.vision_card(request_params=params, **changes)))
        return runtimes.threads(card.load(tmp_path / "model.json"))

    return threads


def test_workers_share_the_cores(threads_of: Callable[..., int]) -> None:
    assert [threads_of(workers) for workers in (1, 2, 3, 8, 20)] == [8, 4, 2, 1, 1]


def test_the_card_may_set_the_threads(threads_of: Callable[..., int]) -> None:
    assert threads_of(1, threads=3) == 3


START = """
import sys
import ts.model_service_worker
from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.model_loader import ModelLoaderFactory
metrics = MetricsCacheYamlImpl(sys.argv[1])
metrics.initialize_cache()
loader = ModelLoaderFactory.get_model_loader()
service = loader.load("model", sys.argv[2], sys.argv[3], None, 2, None, True, metrics)
service.set_cl_socket(None)
assert b'"predictions"' in service.predict([{"requestId": b"1", "headers": [], "parameters": [
    {"name": "body", "contentType": "application/json", "value": {"instances": [[[[255, 0, 0]]]]}}]}])
print(sorted({"captum", "matplotlib", "onnxruntime", "torch._C", "torchvision"} & set(sys.modules)))
"""


def start(folder: Path, *path: Path) -> list[str]:
    """The heavy modules of a process that imports what TorchServe's worker imports, and serves an archive."""
    command = [sys.executable, "-W", "ignore", "-c", START, str(ROOT / "docker" / "metrics.yaml"), str(folder),
               "vision_handler.py"]  # fmt: skip
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(map(str, (folder, *path, ROOT)))}
    run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 0, run.stderr
    return list(ast.literal_eval(run.stdout.splitlines()[-1]))


def test_onnx_worker_serves_without_torch(vision_archive: Path) -> None:
    assert start(vision_archive) == ["onnxruntime"]


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch announces the end of the format
def test_torchscript_worker_loads_the_deferred_torch(tmp_path: Path) -> None:
    folder = archives.vision(tmp_path, archives.vision_card(artifact={"format": "torchscript", "file": "model.pt"}))
    assert start(folder) == ["torch._C"]


def test_installed_sitecustomize_runs_after_the_archives(vision_archive: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    assert start(vision_archive, tmp_path) == ["onnxruntime"]
    assert (tmp_path / "ran").exists()
