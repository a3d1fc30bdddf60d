"""The setting `served_model.network` → the specification from which handlers.networks builds the network.

resnet18, mobilenet_v3_small      two short names of torchvision's networks
torchvision/NAME                  every builder for classification, detection and segmentation
timm/NAME                         every network of timm, an optional requirement
path/to/file.py:CLASS             a class or function of the user's, which returns a torch.nn.Module
package.module:FUNCTION           the same from a package that is installed here and where the workers run

A task fixes the form of the network: boxes come from a detector, maps from a segmenter, everything else from a
classifier.
"""

import difflib
from collections.abc import Collection
from pathlib import Path
from typing import Any

from errors import BuildError
from handlers.networks import BATCH_NORM_EPS
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.checkpoints import ROOT
from settings.schema import VisionModel

TORCHVISION, TIMM = "torchvision/", "timm/"
SHORT = ("mobilenet_v3_small", "resnet18")
TASKS = {"detector": "detect", "segmenter": "segment"}
"""The task of each form of network; every other task is a classifier's."""
INSTALL_TIMM = "pip install -r requirements-timm.txt"
TRANSFORM = "transform_input"
TRANSFORMING = ("googlenet", "inception_v3")
"""Builders whose published weights take an input that the network normalises again, which no state dict says."""
EPSILON_0 = ("fasterrcnn_resnet50_fpn", "keypointrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn")
"""Builders whose weights COCO_V1 were trained with batch norms without epsilon (torchvision's overwrite_eps)."""


def network_spec(model: VisionModel, classes: int) -> dict[str, Any]:
    """Return the specification of a network with `classes` outputs. Raises BuildError for one that is not known."""
    assert model.network is not None
    spec = _source(model.network, model.task == "embed", classes)
    form = form_of(model)
    if model.network in SHORT or model.network.startswith(TORCHVISION):
        _check_form(model, form, _torchvision_form(spec["name"]))
        _check_input(model, spec["name"])
    spec |= model.preprocessing.normalisation
    spec |= {} if form == "classifier" else {"form": form}
    return spec | ({"args": model.network_args} if model.network_args else {})


def published_args(network: str | None, entry: str) -> dict[str, Any]:
    """Return what torchvision's builder does to `network` for the weights `entry`, as network_args."""
    from torchvision.models import get_model_weights, get_weight

    name = (network or "").removeprefix(TORCHVISION)
    if name not in (*TRANSFORMING, *EPSILON_0) or not isinstance(get_weight(entry), get_model_weights(name)):
        return {}
    if name in TRANSFORMING:
        return {TRANSFORM: True}
    return {BATCH_NORM_EPS: 0.0} if get_weight(entry).name == "COCO_V1" else {}


def form_of(model: VisionModel) -> str:
    """Return the form of network that the model's task needs."""
    return next((form for form, task in TASKS.items() if task == model.task), "classifier")


def own_file(network: str) -> Path | None:
    """Return the user's file that the setting names; None for every other network."""
    path, colon, _ = network.rpartition(":")
    return ROOT / Path(path).expanduser() if colon and path.endswith(".py") else None


def _source(network: str, features: bool, classes: int) -> dict[str, Any]:
    if network.startswith(TIMM):
        name = network.removeprefix(TIMM)
        _check_timm(name)
        return {"type": "timm", "name": name, "classes": 0 if features else classes}
    if ":" in network:
        return module_spec(network)
    spec = {"type": "torchvision", "name": network.removeprefix(TORCHVISION)}
    return spec | ({"classes": None, "features": True} if features else {"classes": classes})


def module_spec(network: str) -> dict[str, Any]:
    """Return the specification of path/to/file.py:CLASS or package.module:FUNCTION."""
    path, _, name = network.rpartition(":")
    if path.endswith(".py"):
        return {"type": "file", "file": Path(path).name, "name": name}
    return {"type": "module", "module": path, "name": name}


def _check_timm(name: str) -> None:
    ensure_torchvision_ops()
    try:
        import timm
    except ModuleNotFoundError:
        raise BuildError(f"served_model.network: timm/{name} needs timm: {INSTALL_TIMM}") from None
    if not timm.is_model(name.partition(".")[0]):
        raise _unknown("timm", name, timm.list_models())


def _torchvision_form(name: str) -> str:
    if name in SHORT:
        return "classifier"  # without the import, which takes seconds
    known = torchvision_builders()
    if name not in known:
        raise _unknown("torchvision", name, known)
    return known[name]


def torchvision_builders() -> dict[str, str]:
    """Return the form of each builder in torchvision by its name: classifier, detector or segmenter."""
    ensure_torchvision_ops()
    from torchvision import models

    parts = {"classifier": models, "detector": models.detection, "segmenter": models.segmentation}
    return {
        name: form
        for form, module in parts.items()
        for name in models.list_models(module=module)
        if not name.startswith("quantized_")
    }


def _unknown(library: str, name: str, known: Collection[str]) -> BuildError:
    close = difflib.get_close_matches(name, known, 3) or sorted(known)[:3]
    return BuildError(f"served_model.network: {library} has no {name}; it has {', '.join(close)}, among others")


def _check_form(model: VisionModel, asked: str, form: str) -> None:
    if asked != form:
        task = model.task or "classify"
        remedy = f"set served_model.task={TASKS[form]}" if form in TASKS else f"name a {asked}"
        raise BuildError(
            f"served_model.network: {model.network} is a {form}, and task {task} needs a {asked}; {remedy}"
        )


def _check_input(model: VisionModel, name: str) -> None:
    if name in TRANSFORMING and model.weights == "checkpoint" and TRANSFORM not in model.network_args:
        raise BuildError(
            f"served_model.network: no checkpoint says whether {model.network} was trained with {TRANSFORM}; set "
            f"served_model.network_args={{{TRANSFORM}: true}}, as torchvision's weights and networks trained from them "
            "need, or false for one trained from scratch"
        )
