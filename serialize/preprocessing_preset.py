"""`preprocessing.preset`: the settings that a library or a model's author keeps beside the weights.

    torchvision/WEIGHTS.ENTRY     the transforms of torchvision's weights
    timm/NAME                     the data configuration of timm's weights
    path/preprocessor_config.json the image processor of a Hugging Face model, or the snapshot folder that it is in

What the YAML states counts; the preset gives the rest. A preset that says what Marina cannot do is refused.
"""

import json
import math
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from errors import BuildError
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.checkpoints import CONFIG, ROOT
from serialize.network_spec import INSTALL_TIMM, TIMM, TORCHVISION
from settings.schema import BuiltModel, PreprocessingSettings, VisionModel
from settings.schema.output_settings import TASKS
from settings.schema.preprocessing_settings import CHECKPOINT

KEY = "served_model.preprocessing.preset"
# Pillow's numbers of its filters, which these files use.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
REQUIRED = ("resize", "mean", "std")
UNSUPPORTED = ("do_pad", "do_flip_channel_order", "do_reduce_labels", "do_thumbnail", "do_align_long_axis")

M = TypeVar("M", bound=BuiltModel)


def resolve(model: M) -> M:
    """Return the model with complete pre-processing. Raises BuildError for a preset that is unknown or unusable."""
    if not isinstance(model, VisionModel):
        return model
    settings = model.preprocessing
    if settings.preset == CHECKPOINT:
        settings = settings.model_copy(update={"preset": _snapshot(model, "preprocessing")})
    task = TASKS.get(model.task or "classify")
    if model.labels is None and model.network is None and task is not None and task.labels:
        model = model.model_copy(update={"labels": _snapshot(model, "labels")})
    stated = settings.model_dump(mode="json", include=settings.model_fields_set - {"preset"})
    # These are never null in complete settings, so null leaves them to the preset.
    stated = {name: value for name, value in stated.items() if value is not None or name not in REQUIRED}
    values = ({} if settings.preset is None else _preset(settings.preset)) | stated
    if (ratio := values.pop("crop_ratio", None)) is not None:
        values["resize"] = math.floor(min(values["crop"]) / ratio)
    if values == stated:
        return model
    try:
        resolved = PreprocessingSettings.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise BuildError(f"{KEY}={settings.preset}: {error.errors()[0]['msg']}; state it in the YAML") from None
    return model.model_copy(update={"preprocessing": resolved})


def _snapshot(model: VisionModel, setting: str) -> str:
    """Return the snapshot folder that holds a setting which the YAML does not. Raises BuildError if there is none."""
    if not (_path(model.checkpoint) / CONFIG).is_file():
        raise BuildError(f"served_model.{setting} is missing, and the checkpoint is no snapshot folder that has it")
    return model.checkpoint


def _preset(name: str) -> dict[str, Any]:
    if name.startswith(TORCHVISION):
        return _of_torchvision(name.removeprefix(TORCHVISION))
    if name.startswith(TIMM):
        return _of_timm(name.removeprefix(TIMM))
    path = _path(name)
    return _of_file(path / "preprocessor_config.json" if path.is_dir() else path)


def _path(name: str) -> Path:
    return ROOT / Path(name).expanduser()


def _of_torchvision(entry: str) -> dict[str, Any]:
    ensure_torchvision_ops()
    from torchvision.models import get_weight

    try:
        transforms = get_weight(entry).transforms()
    except (ValueError, KeyError, AttributeError) as error:
        raise BuildError(f"{KEY}: torchvision/{entry}: {error}") from None
    found: dict[str, Any] = {}
    if hasattr(transforms, "interpolation"):
        found["interpolation"] = transforms.interpolation.value
    found["mean"] = list(getattr(transforms, "mean", (0.0, 0.0, 0.0)))  # a detector normalises its input itself
    found["std"] = list(getattr(transforms, "std", (1.0, 1.0, 1.0)))
    if getattr(transforms, "antialias", True) is False:
        found["antialias"] = False
    if hasattr(transforms, "crop_size"):
        found["resize"], found["crop"] = transforms.resize_size[0], [transforms.crop_size[0]] * 2
    return found


def _of_timm(name: str) -> dict[str, Any]:
    ensure_torchvision_ops()
    try:
        from timm.models import get_pretrained_cfg
    except ModuleNotFoundError:
        raise BuildError(f"{KEY}: timm/{name} needs timm: {INSTALL_TIMM}") from None
    found = get_pretrained_cfg(name, allow_unregistered=True)
    if found is None:
        raise BuildError(f"{KEY}: timm has no configuration of {name}")
    if found.crop_mode not in ("center", "squash"):
        raise BuildError(f"{KEY}: timm/{name} crops by {found.crop_mode}, which is not supported")
    channels, height, width = found.input_size
    values: dict[str, Any] = {"mean": list(found.mean), "std": list(found.std), "interpolation": found.interpolation}
    values |= {"channels": channels, "crop": [height, width]}
    if found.crop_mode == "squash":
        return values | {"resize": [math.floor(height / found.crop_pct), math.floor(width / found.crop_pct)]}
    return values | {"crop_ratio": found.crop_pct}


def _of_file(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text())
        values = _of_processor(given)
    except OSError as error:
        raise BuildError(
            f"{KEY}: {path}: {error.strerror}; name torchvision/WEIGHTS.ENTRY, timm/NAME or a file"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{KEY}: {path}: not a preprocessor_config.json: {type(error).__name__}: {error}") from None
    if wrong := [name for name in UNSUPPORTED if given.get(name)]:
        raise BuildError(f"{KEY}: {path}: {wrong[0]} is not supported")
    return values


def _of_processor(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an image processor; the mean is of values from 0 to 1."""
    if given.get("do_rescale", True) and not math.isclose(given.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-4):
        raise ValueError("rescale_factor is not 1/255")
    normalize = given.get("do_normalize", True)
    values: dict[str, Any] = {"interpolation": RESAMPLE[given.get("resample", 2)]}
    values["mean"] = list(given["image_mean"]) if normalize else [0.0] * 3
    values["std"] = list(given["image_std"]) if normalize else [1.0] * 3
    size = given["size"]
    side = size.get("shortest_edge") if isinstance(size, dict) else size
    crop = given.get("crop_size", size) if given.get("do_center_crop", False) else None
    if side is not None and not (isinstance(size, int) and crop is None):
        # ConvNeXT's own rule: below 384 pixels the shorter side is that divided by crop_pct, then cropped.
        values |= (
            {"resize": side} if "crop_pct" not in given or side >= 384 else {"resize": int(side / given["crop_pct"])}
        )
        crop = crop if crop is not None or "crop_pct" not in given else side
    else:
        values["resize"] = [side, side] if side is not None else [size["height"], size["width"]]
    if crop is not None:
        values["crop"] = [crop, crop] if isinstance(crop, int) else [crop["height"], crop["width"]]
    return values
