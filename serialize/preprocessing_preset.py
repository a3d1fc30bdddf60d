"""`preprocessing.preset`: the settings that a library or a model's author keeps beside the weights.

    torchvision/WEIGHTS.ENTRY     the transforms of torchvision's weights, and what their builder changes in the network
    timm/NAME                     the data configuration of timm's weights
    path/preprocessor_config.json the image processor of a Hugging Face model, or the snapshot folder that it is in

What the YAML states counts; the preset gives the rest. A preset that says what Marina cannot do is refused.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from errors import BuildError
from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.checkpoints import CONFIG, ROOT
from serialize.network_spec import INSTALL_TIMM, TIMM, TORCHVISION, published_args
from settings.schema import BuiltModel, PreprocessingSettings, VisionModel
from settings.schema.output_settings import TASKS
from settings.schema.preprocessing_settings import CHECKPOINT

KEY = "served_model.preprocessing.preset"
# Pillow's numbers of its filters, which these files use.
RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic"}
REQUIRED = ("resize", "mean", "std")
UNSUPPORTED = ("do_pad", "do_flip_channel_order", "do_reduce_labels", "use_square_size")


@dataclass(frozen=True)
class _Processor:
    """What an image processor of transformers 5 does where its file does not say.

    `square`: a size of one number is that of both sides, not of the shorter one.
    """

    resample: int
    crops: bool = False
    square: bool = True


CONVNEXT = "ConvNextImageProcessor"
PROCESSORS = {
    "BeitImageProcessor": _Processor(3),
    "BitImageProcessor": _Processor(3, crops=True, square=False),
    "CLIPImageProcessor": _Processor(3, crops=True, square=False),
    CONVNEXT: _Processor(3, square=False),
    "DeiTImageProcessor": _Processor(3, crops=True),
    "MobileNetV1ImageProcessor": _Processor(2, crops=True, square=False),
    "MobileNetV2ImageProcessor": _Processor(2, crops=True, square=False),
    "PvtImageProcessor": _Processor(3),
    "SegformerImageProcessor": _Processor(2),
    "SiglipImageProcessor": _Processor(3, square=False),
    "ViTImageProcessor": _Processor(2),
}
"""The image processors whose rules `_of_processor` knows."""
WARPED = 384
"""From this side on ConvNeXT resizes both sides and crops nothing."""

M = TypeVar("M", bound=BuiltModel)


def resolve(model: M) -> M:
    """Return the model with complete pre-processing. Raises BuildError for a preset that is unknown or unusable."""
    if not isinstance(model, VisionModel):
        return model
    settings = model.preprocessing
    if settings.preset == CHECKPOINT:
        settings = settings.model_copy(update={"preset": _snapshot(model, "preprocessing")})
    task = TASKS.get(model.task or "classify")
    changed: dict[str, Any] = {}
    if model.labels is None and model.network is None and task is not None and task.labels:
        changed["labels"] = _snapshot(model, "labels")
    stated = settings.model_dump(mode="json", include=settings.model_fields_set - {"preset"})
    # These are never null in complete settings, so null leaves them to the preset.
    stated = {name: value for name, value in stated.items() if value is not None or name not in REQUIRED}
    values = ({} if settings.preset is None else _preset(settings.preset)) | stated
    if (ratio := values.pop("crop_ratio", None)) is not None and "resize" not in stated:
        values["resize"] = _shorter_side(values["crop"], ratio)
    if settings.preset is None and values == stated:
        return model.model_copy(update=changed)
    try:
        resolved = PreprocessingSettings.model_validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        raise BuildError(f"{KEY}={settings.preset}: {error.errors()[0]['msg']}; state it in the YAML") from None
    changed |= {"preprocessing": resolved, "network_args": _published(model) | model.network_args}
    return model.model_copy(update=changed)


def _published(model: VisionModel) -> dict[str, Any]:
    preset = model.preprocessing.preset or ""
    return published_args(model.network, preset.removeprefix(TORCHVISION)) if preset.startswith(TORCHVISION) else {}


def _shorter_side(crop: list[int] | None, ratio: float) -> int:
    if crop is None or crop[0] != crop[1]:
        raise BuildError(f"served_model.preprocessing: crop_ratio needs a square crop, not {crop}; state resize")
    return math.floor(crop[0] / ratio)


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


class _Unsupported(Exception):
    """A setting of an image processor that Marina cannot follow."""


def _of_file(path: Path) -> dict[str, Any]:
    try:
        return _of_processor(json.loads(path.read_text()))
    except OSError as error:
        raise BuildError(
            f"{KEY}: {path}: {error.strerror}; name torchvision/WEIGHTS.ENTRY, timm/NAME or a file"
        ) from None
    except _Unsupported as error:
        raise BuildError(f"{KEY}: {path}: {error} is not supported; state the pre-processing in the YAML") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BuildError(f"{KEY}: {path}: not a preprocessor_config.json: {type(error).__name__}: {error}") from None


def _of_processor(given: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an image processor; the mean is of values from 0 to 1. Raises _Unsupported."""
    named = given.get("image_processor_type") or given.get("feature_extractor_type")
    if named is None:
        raise _Unsupported("a file without image_processor_type")
    kind = named.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    if kind not in PROCESSORS:
        raise _Unsupported(named)
    defaults = PROCESSORS[kind]
    crops = given.get("do_center_crop", defaults.crops)
    wrong = [f"{name}: false" for name in ("do_resize", "do_rescale") if not given.get(name, True)]
    wrong += [name for name in UNSUPPORTED if given.get(name)]
    if not math.isclose(given.get("rescale_factor", 1 / 255), 1 / 255, rel_tol=1e-4):
        wrong.append("a rescale_factor other than 1/255")
    if wrong:
        raise _Unsupported(wrong[0])
    normalize = given.get("do_normalize", True)
    values: dict[str, Any] = {"interpolation": RESAMPLE[given.get("resample", defaults.resample)]}
    values["mean"] = list(given["image_mean"]) if normalize else [0.0] * 3
    values["std"] = list(given["image_std"]) if normalize else [1.0] * 3
    size = _size(given["size"], defaults.square)
    if kind == CONVNEXT:
        if crops or not isinstance(size, int):
            raise _Unsupported(f"do_center_crop or a size of two numbers in {named}")
        if size >= WARPED:
            return values | {"resize": [size, size]}
        return values | {"resize": int(size / (given.get("crop_pct") or 224 / 256)), "crop": [size, size]}
    values["resize"] = size
    return values | ({"crop": _size(given["crop_size"], square=True)} if crops else {})


def _size(size: int | dict[str, int | None], square: bool) -> Any:
    """Return [height, width], or the shorter side."""
    if isinstance(size, int):
        return [size, size] if square else size
    stated = {name: value for name, value in size.items() if value is not None}
    if set(stated) == {"shortest_edge"}:
        return stated["shortest_edge"]
    if set(stated) == {"height", "width"}:
        return [stated["height"], stated["width"]]
    raise _Unsupported(f"a size of {' and '.join(stated)}")
