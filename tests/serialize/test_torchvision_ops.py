"""torchvision can be imported beside a torch that its compiled operators were not built for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPERATORS = ("nms", "qnms")
SIGNATURE = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def run(code: str, *packages: Path) -> str:
    """Run `code` in a process of its own, which finds `packages` before all that is installed."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, packages))}
    command = [sys.executable, "-W", "ignore", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    """The folder of a torchvision without a compiled library."""
    package = tmp_path / "torchvision"
    package.mkdir()
    (package / "__init__.py").touch()
    return tmp_path


def test_torchvision_imports_after_the_declaration_and_classifies() -> None:
    code = (
        "from handlers.torchvision_ops import ensure_torchvision_ops; ensure_torchvision_ops()\n"
        "import torch, torchvision\n"
        "print(torchvision.models.resnet18(num_classes=3).eval()(torch.zeros(1, 3, 32, 32)).shape)"
    )
    assert run(code) == "torch.Size([1, 3])"


def test_a_second_call_declares_nothing() -> None:
    code = (
        "from handlers.torchvision_ops import ensure_torchvision_ops\n"
        "ensure_torchvision_ops(); print(ensure_torchvision_ops())"
    )
    assert run(code) == "()"


def test_ensure_torchvision_ops_declares_missing_operators_only() -> None:
    code = (
        "import torch\n"
        "from handlers.torchvision_ops import ensure_torchvision_ops\n"
        "declared = ensure_torchvision_ops()\n"
        "import torchvision\n"
        "computes = torch._C._dispatch_has_kernel_for_dispatch_key('torchvision::nms', 'CPU')\n"
        "print(computes != ('nms' in declared))"
    )
    assert run(code) == "True"


def test_operators_are_missing_both_are_declared(stub: Path) -> None:
    code = (
        "import torch\n"
        "from handlers.torchvision_ops import ensure_torchvision_ops\n"
        "print(ensure_torchvision_ops(), torch.ops.torchvision.nms.default._schema)"
    )
    assert run(code, stub) == f"('nms', 'qnms') torchvision::nms{SIGNATURE}"


@pytest.mark.parametrize("there", [("nms",), OPERATORS])
def test_operators_are_there_they_are_left_alone(stub: Path, there: tuple[str, ...]) -> None:
    code = (
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        f"for name in {there!r}:\n"
        f"    library.define(name + '{SIGNATURE}')\n"
        "library.impl('nms', lambda dets, scores, iou_threshold: scores + 1, 'CPU')\n"
        "from handlers.torchvision_ops import ensure_torchvision_ops\n"
        "print(ensure_torchvision_ops(), torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5).item())"
    )
    missing = tuple(name for name in OPERATORS if name not in there)
    assert run(code, stub) == f"{missing} 1.0"
