"""`served_model` and `parity`: one model, from its checkpoint to its registration."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from settings.schema.fields import Name, PositiveInt, Seconds, SettingsGroup, Size, Triple, Version, check_differ


class ParitySettings(SettingsGroup):
    """Comparison with `predict` of the library that wrote a policy's checkpoint, in its own process."""

    library: Literal["auto", "required", "off"]
    python: str | None = Field(description="an interpreter that has the library; null: this one, where it has it")
    observations: Annotated[int, Field(ge=16, le=100_000)] = Field(description="most observations to compare")
    timeout_s: Seconds = Field(description="time limit of the library")
    unpickle: bool = Field(
        description="the library unpickles the checkpoint, which runs code from it; needs served_model.sha256"
    )


Channel = Annotated[int, Field(ge=0, le=255)]
ROOT = Path(__file__).resolve().parents[2]
FORMATS, OUTPUTS = ROOT / "serialize" / "formats", ROOT / "handlers" / "outputs"


def _known_format(name: str) -> str:
    """Accept the file names of serialize/formats; without that folder nothing is built, so any name passes."""
    known = sorted(path.stem.replace("_", "-") for path in FORMATS.glob("[a-z]*.py"))
    if known and name not in known:
        raise ValueError(f"must be one of {', '.join(map(repr, known))}")
    return name


def _known_task(name: str) -> str:
    """Accept the files of handlers/outputs that define KIND; without that folder nothing is built."""
    known = sorted(path.stem for path in OUTPUTS.glob("*.py") if "\nKIND = " in path.read_text())
    if known and name not in known:
        raise ValueError(f"must be one of {', '.join(map(repr, known))}")
    return name


class PreprocessingSettings(SettingsGroup):
    """The conversion of an image to the network's input; the archive contains it for the worker."""

    resize: Size | PositiveInt = Field(description="[height, width], or one number for the shorter side, in pixels")
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    crop: Size | None = Field(None, description="centre crop [height, width] after resizing, in pixels")
    mean: Triple = Field(description="subtracted from each channel, after scaling to 0..1")
    std: Triple = Field(description="divides each channel, after the mean is subtracted")
    background: tuple[Channel, Channel, Channel] = Field(
        (255, 255, 255), description="[red, green, blue] behind transparent pictures, 0..255"
    )
    white: Annotated[float, Field(gt=0, le=2**32 - 1)] | None = Field(
        None, description="value that is white in grey pictures of more than 8 bits; null: the largest of their bits"
    )

    @model_validator(mode="after")
    def _leaves_one_size(self) -> Self:
        if isinstance(self.resize, int) and self.crop is None:
            raise ValueError("resize by the shorter side needs a crop: a batch must have one size")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        return self


class OutputSettings(SettingsGroup):
    """The conversion of the network's output to an answer."""

    activation: Literal["softmax", "sigmoid"]
    thresholds: float | list[float] = Field(
        0.5, description="sigmoid only: probability from which a label applies, 0..1"
    )
    top_k: PositiveInt | None = Field(None, description="number of classes in an answer; null for all")


class RegistrationSettings(SettingsGroup):
    """Parameters of TorchServe's registration. A change of any of them is a new version."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(description="most requests a worker takes at once")
    max_batch_delay: Annotated[int, Field(ge=0, le=60000)] = Field(
        description="longest wait of a worker for a full batch, in ms"
    )
    initial_workers: Annotated[int, Field(ge=1, le=1024)] = Field(description="workers, each a process")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None, description="of a worker's network; null: the cores divided by the workers that the archive names"
    )
    coalesce: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        None,
        description="most states that the gateway sends as one request; 1: none together, null: as gateway.coalesce",
    )

    @property
    def stamped(self) -> dict[str, int]:
        """The parameters that TorchServe lacks; an upload stamps them into the archive's manifest."""
        each = {"threads": self.threads, "coalesce": self.coalesce}
        return {name: value for name, value in each.items() if value is not None}


class CalibrationSettings(SettingsGroup):
    """Images for calibrating `onnx-int8` and for choosing the decode level."""

    pictures: str | None = Field(
        None, description="folder of pictures like those to be served; null for generated ones"
    )
    count: Annotated[int, Field(ge=8, le=10000)] = Field(
        200, description="number of pictures to use, in the order of their names"
    )


class DecodeLimits(SettingsGroup):
    """The accuracy that a reduced JPEG decode must keep."""

    top1: Annotated[float, Field(ge=0, le=1)] = Field(0.995, description="share of pictures with the same first label")
    change: Annotated[float, Field(ge=0, le=1)] = Field(0.05, description="largest change of any probability")


class Int8Limits(SettingsGroup):
    """The accuracy that `onnx-int8` must keep."""

    top1: Annotated[float, Field(ge=0, le=1)] = Field(0.98, description="share of pictures with the same first label")
    change: Annotated[float, Field(ge=0, le=1)] = Field(0.1, description="tolerance of the golden answers")


class VisionLimits(SettingsGroup):
    """Limits of one request, because a worker serves no other client meanwhile."""

    max_pixels: PositiveInt = Field(
        100_000_000, description="of its pictures together, by their headers; 300 MB as RGB, a few seconds to decode"
    )
    max_instances: Annotated[int, Field(ge=1, le=65536)] = Field(64, description="pictures, each a run of the network")


class PolicyLimits(SettingsGroup):
    """Limits of one request, because a worker serves no other client meanwhile."""

    max_pixels: PositiveInt = Field(
        10_000_000, description="of its pictures together, where observations have some; each becomes 64-bit numbers"
    )
    max_instances: Annotated[int, Field(ge=1, le=65536)] = Field(
        4096, description="observations; as many as the gateway may send as one request"
    )


class _Model(SettingsGroup):
    model_name: Name
    version: Version = "1.0"
    description: str = ""
    handler: str = Field(description="file of the handler class, packed into the archive")
    checkpoint: str = Field(description="path of the trained weights, or the URL that download_weights fetches")
    checkpoint_key: str | None = Field(
        None,
        description="key of the weights in the checkpoint, e.g. state_dict_ema; needed when several fit",
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = Field(
        None, description="checksum of the checkpoint, or its first digits"
    )
    weights: Literal["checkpoint", "random"] = Field(
        "checkpoint", description="random: no checkpoint, which every answer states"
    )
    artifact: Annotated[str, AfterValidator(_known_format)] = "onnx"
    task: Annotated[str, AfterValidator(_known_task)] | None = Field(
        None,
        description="output kind, a file of handlers/outputs; null: action, or by output.activation",
        exclude_if=lambda task: task is None,  # archives of models that do not name it keep their bytes
    )
    request_params: RegistrationSettings


class VisionModel(_Model):
    """The settings of a picture classifier."""

    kind: Literal["vision"]
    network: Literal["mobilenet_v3_small", "resnet18"]
    decode: Literal["exact", "fast", "auto"] = Field(
        "exact",
        description="fast: JPEGs at reduced size, refused unless accurate; auto: fast where accurate, else exact",
    )
    decode_limits: DecodeLimits = DecodeLimits()
    limits: VisionLimits = VisionLimits()
    calibration: CalibrationSettings = CalibrationSettings()
    int8_limits: Int8Limits = Int8Limits()
    preprocess_in_graph: bool = Field(False, description="onnx only: resize and crop are part of the graph")
    precision: Literal["float32", "float16", "bfloat16"] = Field(
        "float32", description="floating-point type of eager, torchscript and aoti"
    )
    channels_last: bool | Literal["auto"] = Field("auto", description="memory order of eager, torchscript and aoti")
    labels: list[str] | str = Field(description="class names in the order of the outputs, or torchvision/WEIGHTS.ENTRY")
    preprocessing: PreprocessingSettings
    output: OutputSettings

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        if self.precision != "float32" and self.artifact.startswith("onnx"):
            raise ValueError(f"precision {self.precision} is for eager, torchscript and aoti, not for {self.artifact}")
        if self.preprocess_in_graph and self.artifact != "onnx":
            raise ValueError(f"preprocess_in_graph is for artifact onnx, not for {self.artifact}")
        if self.preprocess_in_graph and self.decode != "exact":
            raise ValueError("preprocess_in_graph needs decode exact: the graph takes pictures of full size")
        return self

    @model_validator(mode="after")
    def _thresholds_fit_labels(self) -> Self:
        if isinstance(self.labels, list):
            check_differ("labels", self.labels)
            if isinstance(self.output.thresholds, list) and len(self.output.thresholds) != len(self.labels):
                raise ValueError(f"{len(self.output.thresholds)} thresholds for {len(self.labels)} labels")
        return self


class NormalizationSettings(SettingsGroup):
    """VecNormalize's transformation of an observation: subtract the mean, divide by the root of var + epsilon, clip."""

    mean: list[float] = Field(description="one for each number of the observation, in its order")
    var: list[float]
    epsilon: Annotated[float, Field(ge=0)] = 1e-8
    clip: Annotated[float, Field(gt=0)] = Field(10.0, description="VecNormalize's clip_obs")


class ObservationBounds(SettingsGroup):
    """Bounds of the numbers of an observation: one for all, or one each; null for none."""

    low: float | list[float | None] | None
    high: float | list[float | None] | None


class ObservationSettings(SettingsGroup):
    """Preparation and checks of an observation that the checkpoint does not describe."""

    bounds: str | ObservationBounds | dict[str, ObservationBounds] | None = Field(
        None, description="of its space, by part for a dict of parts; or the .npz or .json file that has low and high"
    )

    normalization: str | NormalizationSettings | dict[str, NormalizationSettings] | None = Field(
        None, description="VecNormalize's figures, by part for a dict of parts; or the .npz or .json file that has them"
    )


def _no_envelope(fields: list[str]) -> list[str]:
    if "instances" in fields:
        raise ValueError("must not hold 'instances', under which a request holds many observations")
    return fields


class PolicySettings(SettingsGroup):
    """Training parameters that the checkpoint does not hold; where it does, both must agree."""

    activation: str | None = Field(None, description="class of torch.nn between the layers: Tanh, ReLU, ELU, ...")
    observation_space: str | None = Field(None, description="as gymnasium prints it: Box(-1.0, 1.0, (3,), float32)")
    action_space: str | None = Field(None, description="as gymnasium prints it: Discrete(2), MultiDiscrete([3 5 2])")
    squash_output: bool | None = Field(None, description="PPO and A2C with gSDE: tanh maps actions onto their space")
    normalize_images: bool | None = Field(None, description="bytes of pictures are divided by 255")
    clip_mean: Annotated[float, Field(gt=0)] | None = Field(
        None, description="SAC, TQC and CrossQ with gSDE: bound of the mean before tanh"
    )
    batch_norm_eps: Annotated[float, Field(gt=0)] | None = Field(None, description="CrossQ: epsilon of its layers")


class PolicyModel(_Model):
    """The settings of a reinforcement-learning policy."""

    kind: Literal["policy"]
    fields: Annotated[list[str], AfterValidator(_no_envelope)] | None = Field(
        None, description="names of the observation's numbers, in order"
    )
    actions: list[str] | None = Field(None, description="names of the discrete actions, for people")
    policy: PolicySettings = PolicySettings()
    observation: ObservationSettings = ObservationSettings()
    out_of_range: Literal["reject", "clip"] = Field(
        "reject", description="treatment of an observation outside its space"
    )
    limits: PolicyLimits = PolicyLimits()

    @model_validator(mode="after")
    def _coalesced_requests_are_within_limits(self) -> Self:
        if (self.request_params.coalesce or 1) > self.limits.max_instances:
            raise ValueError(
                f"request_params.coalesce {self.request_params.coalesce} is above limits.max_instances "
                f"{self.limits.max_instances}: a worker would refuse what the gateway sends as one request"
            )
        return self


ServedModel = Annotated[VisionModel | PolicyModel, Field(discriminator="kind")]
