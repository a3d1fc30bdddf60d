"""torchvision can be imported beside a torch that its compiled operators were not built for."""

import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


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


def test_operators_that_are_there_are_left_alone() -> None:
    code = (
        "import torch\n"
        "library = torch.library.Library('torchvision', 'DEF')\n"
        "for name in ('nms', 'qnms'):\n"
        "    library.define(name + '(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')\n"
        "library.impl('nms', lambda dets, scores, iou_threshold: scores + 1, 'CPU')\n"
        "from handlers.torchvision_ops import ensure_torchvision_ops\n"
        "print(ensure_torchvision_ops(), torch.ops.torchvision.nms(torch.zeros(1, 4), torch.zeros(1), 0.5).item())"
    )
    assert run(code) == "() 1.0"
