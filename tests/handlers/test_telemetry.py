import logging
import re
from importlib.resources import files

import pytest
import yaml

from tests.handlers.archives import ROOT, png
from tests.handlers.worker import Worker, picture

# How TorchServe's frontend reads a metric from a worker's output.
LINE = re.compile(r"\[METRICS\](\w+)\.(\w+):([0-9\-,.e]+)\|#([^|]*)\|#type:(\w+)\|#hostname:")


def emitted(caplog: pytest.LogCaptureFixture) -> dict[str, tuple[str, str, str, str]]:
    lines = [LINE.match(record.getMessage()) for record in caplog.records]
    return {line[1]: (line[2], line[3], line[4], line[5]) for line in lines if line}


def test_each_batch_tells_its_stage_times_and_its_fill(vision: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    vision.answer(picture(png((255, 0, 0))), picture(b"no picture"), picture(png((0, 255, 0))))
    told = emitted(caplog)
    for stage in ("decode", "forward", "post"):
        unit, seconds, dimensions, kind = told[f"handler_{stage}_seconds"]
        assert (unit, kind) == ("Seconds", "HISTOGRAM")
        assert 0 < float(seconds) < 60
        assert dimensions == "ModelName:model,ModelVersion:1.0,Level:Model"
    assert told["handler_batch_fill_ratio"][:2] == ("Ratio", "0.75")


def test_metrics_file_declares_own_and_torchserve_metrics(vision: Worker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    vision.one(picture(png((255, 0, 0))))
    declared = yaml.safe_load((ROOT / "docker" / "metrics.yaml").read_text())
    own = {metric["name"] for metric in declared["model_metrics"]["histogram"]}
    gauges = {metric["name"] for metric in declared["model_metrics"]["gauge"]}
    assert set(emitted(caplog)) == own | gauges
    # Without a unit TorchServe drops the whole file and serves no metric at all.
    assert all(metric["unit"] for kind in declared["model_metrics"].values() for metric in kind)
    theirs = yaml.safe_load(files("ts").joinpath("configs", "metrics.yaml").read_text())
    # The gauges that the container's metrics add, see engines/torchserve/process/container_metrics.py.
    added = [each["name"] for each in declared["ts_metrics"]["gauge"] if each not in theirs["ts_metrics"]["gauge"]]
    assert added == ["OutOfMemoryKills", "VolumeUtilization", "VolumeAvailable"]
    kept = [each for each in declared["ts_metrics"]["gauge"] if each["name"] not in added]
    assert theirs["ts_metrics"] == declared["ts_metrics"] | {"gauge": kept}
    assert theirs["model_metrics"]["gauge"] == declared["model_metrics"]["gauge"]
