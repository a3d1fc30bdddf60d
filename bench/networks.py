"""`python -m bench.networks`: every network of torchvision and common ones of timm, built with random weights.

Each row is a build as a user starts it, `python -m serialize`, with the parity gate that every archive passes, and the
time of one picture in the archive's own handler, one thread, decode included. A network that cannot be served shows the
exporters' own reason. A detector must answer with five boxes, and a segmenter with two classes.

Each row is kept in `reports/networks`, and the table has every row that is there: networks may be built in parts, on
several machines.
"""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from archive import open_archive
from bench import document, options, tables
from bench.peers.pipeline import Pipeline
from files import write_atomic
from handlers.golden import load as load_golden
from handlers.torchvision_ops import ensure_torchvision_ops
from loadtest.resources import HostInfo
from settings.load import ROOT

LABELS = "[__background__,a,b,c,d]"
TIMM = (
    "resnet18", "resnet50d", "resnetv2_50", "resnext50_32x4d", "seresnet50", "regnety_008", "densenet121",
    "efficientnet_b0", "tf_efficientnetv2_b0", "mobilenetv3_large_100", "mobilenetv4_conv_small", "mobileone_s0",
    "ghostnet_100", "mnasnet_100", "hrnet_w18_small", "dla34", "repvgg_a0", "convnext_tiny", "convnextv2_atto",
    "vit_tiny_patch16_224", "vit_small_patch16_224", "deit_tiny_patch16_224", "deit3_small_patch16_224",
    "swin_tiny_patch4_window7_224", "mixer_b16_224", "cait_xxs24_224", "mobilevit_s", "edgenext_small",
    "eva02_tiny_patch14_224", "vit_small_patch14_dinov2",
)  # fmt: skip
SIZES = {"inception_v3": 299, "ssd300_vgg16": 300, "vit_h_14": 224, "vit_small_patch14_dinov2": 518}
"""Input sizes other than 224; a detector resizes to its own size again."""
DETECTOR_SIZE = 320
PARITY = re.compile(r"output (\S+), answer (\S+), limit")
PICTURES = 10
ROWS = ROOT / "reports" / "networks"
HEAD = ("network", "artifact", "build, s", "archive, MB", "ms a picture", "parity: output, answer", "", "measured on")
FEWEST = {"detect": 5, "segment": 2}


@dataclass(frozen=True)
class Build:
    """One network: `torchvision/NAME` or `timm/NAME`, its task, and the side of its square input in pixels."""

    network: str
    task: str
    side: int

    def overrides(self) -> list[str]:
        """Return the settings of the build, which change the digits' model."""
        size = f"served_model.preprocessing.resize=[{self.side},{self.side}]"
        found = ["served_model=digits", "served_model.model_name=network", "served_model.weights=random",
                 f"served_model.network={self.network}", f"served_model.labels={LABELS}", size,
                 f"served_model.task={self.task}"]  # fmt: skip
        if self.task == "detect":
            output = "served_model.output"
            found += [f"~{output}.activation", f"{output}.threshold=0.05", f"{output}.nms=none"]
            found += ["served_model.calibration.pictures=null"]  # random weights find something in any picture
        return [*found, "served_model.output.mask=png"] if self.task == "segment" else found


def builds() -> list[Build]:
    """Return every builder of torchvision and the chosen ones of timm."""
    ensure_torchvision_ops()
    from torchvision import models

    plain = [name for name in models.list_models(module=models) if not name.startswith("quantized_")]
    found = [Build(f"torchvision/{name}", "classify", SIZES.get(name, 224)) for name in plain]
    found += [
        Build(f"torchvision/{name}", "detect", SIZES.get(name, DETECTOR_SIZE))
        for name in models.list_models(module=models.detection)
    ]
    found += [Build(f"torchvision/{name}", "segment", 224) for name in models.list_models(module=models.segmentation)]
    return found + [Build(f"timm/{name}", "classify", SIZES.get(name, 224)) for name in TIMM]


def main(arguments: Sequence[str]) -> int:
    """Print the table of the chosen networks; return 1 if one is neither served nor refused with a reason."""
    parser = options.parser("bench.networks", "networks")
    parser.add_argument(
        "--only", metavar="PATTERN", default="", help="networks whose name matches, e.g. timm/|resnet50"
    )
    parser.add_argument("--jobs", type=options.count, default=1, metavar="N", help="networks at a time, for many cores")
    parser.add_argument("--time", type=Path, metavar="FOLDER", help="time the pictures of one unpacked archive")
    given = parser.parse_args(arguments)
    if given.time is not None:
        print(json.dumps(_time(given.time)))
        return 0
    chosen = [each for each in builds() if re.search(given.only, each.network)]
    with ThreadPoolExecutor(given.jobs) as builders:
        rows = list(builders.map(_row, chosen))
    kept = _kept()
    measured = f"{len(chosen)} of these {len(kept)} networks, random weights, one thread each, {given.jobs} at a time"
    heading = document.heading("bench.networks", arguments, measured)
    document.publish(given.write, "networks", f"{heading}\n\n{tables.table(HEAD, kept)}")
    return 1 if any(row[-2].startswith("missing") for row in rows) else 0


def _row(build: Build) -> tuple[str, ...]:
    host = HostInfo.this()
    row = (*_built(build), f"{host.cores} cores, torch {importlib.metadata.version('torch')}")
    print(" · ".join(row), file=sys.stderr, flush=True)
    ROWS.mkdir(parents=True, exist_ok=True)
    write_atomic(_file(build), json.dumps(row))
    return row


def _kept() -> list[list[str]]:
    """Return every row that is kept, in the order of the networks."""
    return [json.loads(_file(build).read_bytes()) for build in builds() if _file(build).exists()]


def _file(build: Build) -> Path:
    return ROWS / f"{build.network.replace('/', '-')}.json"


def _built(build: Build) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory(prefix="marina-bench-") as folder:
        command = [sys.executable, "-W", "ignore", "-m", "serialize", *build.overrides(), f"paths.archives={folder}"]
        started = time.perf_counter()
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        seconds = time.perf_counter() - started
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
            return build.network, "none", f"{seconds:.0f}", "", "", "", tables.cell(reason)
        archive = open_archive(Path(folder) / "network.mar")
        unpacked = Path(folder) / "unpacked"
        for file in archive.files:
            path = unpacked / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(file.name))
        timed = [sys.executable, "-W", "ignore", "-m", "bench.networks", "--time", str(unpacked)]
        milliseconds, answered = json.loads(subprocess.run(timed, capture_output=True, text=True, check=True).stdout)
        parity = PARITY.search(done.stdout)
        artifact = archive.card["artifact"]
        note = tables.cell(str(artifact.get("reason", "")))
        if answered < FEWEST.get(build.task, 0):
            note = f"missing: {answered} answered"
        figures = f"{parity[1]}, {parity[2]}" if parity else ""
        size = f"{archive.size / 1e6:.1f}"
        return build.network, artifact["format"], f"{seconds:.0f}", size, f"{milliseconds:.1f}", figures, note


def _time(folder: Path) -> tuple[float, int]:
    """Return the median milliseconds of a golden picture, and the most boxes or classes that one is answered with."""
    golden = load_golden(folder / "golden.json")
    pipeline = Pipeline(folder, batch_size=1)
    sample = golden.samples[0]
    times = []
    for _ in range(PICTURES):
        started = time.perf_counter()
        pipeline.forward([pipeline.read(sample.body, sample.content_type)])
        times.append(time.perf_counter() - started)
    found = [
        len(each.get("detections") or each.get("areas") or ()) for some in golden.samples for each in some.predictions
    ]
    return sorted(times)[PICTURES // 2] * 1000, max(found)


if __name__ == "__main__":
    options.program(main)
