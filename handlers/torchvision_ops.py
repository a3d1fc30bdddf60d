"""Makes `import torchvision` work with a torch that its compiled operators were not built for.

The torchvision wheel is linked against a CUDA torch. With a CPU-only torch its `_C` library does not load, and the
import then fails when it registers shapes for `torchvision::nms` and `torchvision::qnms`, which are undefined.
Classifiers use neither: declaring the two, without an implementation, is enough. Detectors of other makers need `nms`,
which `implement_nms` adds in Python.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

SCHEMAS = {
    "nms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms": "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
}
# A library's definitions vanish when it is garbage-collected, so these live as long as the module.
_libraries: list[Any] = []

# torch does not annotate these two.
_new_library: Callable[[str, str], Any] = torch.library.Library
_load_library: Callable[[Path], None] = torch.ops.load_library


def ensure_torchvision_ops() -> tuple[str, ...]:
    """Declare the operators that torchvision's compiled library does not define, before `import torchvision`.

    Return their names: () where all are defined, or where torchvision is not installed.
    """
    if not _load_compiled():
        return ()
    missing = tuple(name for name in SCHEMAS if not _is_defined(name))
    if missing:
        library = _new_library("torchvision", "FRAGMENT")
        for name in missing:
            library.define(name + SCHEMAS[name])
        _libraries.append(library)
    return missing


def implement_nms(torchvision: Any) -> None:
    """Let detectors of an imported torchvision, scripted ones too, use the `nms` of this module, on any device."""
    library = _new_library("torchvision", "IMPL")
    library.impl("nms", nms, "CompositeExplicitAutograd")
    _libraries.append(library)
    # torchvision's own function checks for its compiled library first.
    torchvision.ops.boxes.nms = torchvision.ops.nms = nms


def nms(dets: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Return the indices [K] of the boxes [N, 4] to keep, best score first.

    A box is dropped when its intersection over union with a better one that is kept exceeds the threshold.
    """
    areas = (dets[:, 2] - dets[:, 0]) * (dets[:, 3] - dets[:, 1])
    order, kept = scores.argsort(descending=True, stable=True), []
    while order.numel():
        best, order = order[0], order[1:]
        kept.append(best)
        corner, opposite = (
            torch.maximum(dets[best, :2], dets[order, :2]),
            torch.minimum(dets[best, 2:], dets[order, 2:]),
        )
        common = (opposite - corner).clamp(min=0).prod(dim=1)
        order = order[~(common / (areas[best] + areas[order] - common) > iou_threshold)]
    return torch.stack(kept) if kept else order


def _load_compiled() -> bool:
    """Load torchvision's library where that works, as its import would; return False without torchvision."""
    found = importlib.util.find_spec("torchvision")
    if found is None or found.origin is None:
        return False
    for library in sorted(Path(found.origin).parent.glob("_C*")):
        try:
            _load_library(library)
        except OSError:
            continue
    return True


def _is_defined(name: str) -> bool:
    try:
        getattr(torch.ops.torchvision, name)
    except AttributeError:
        return False
    return True
