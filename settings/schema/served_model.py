"""`served_model` and `parity`: one model, from its checkpoint to its registration."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from settings.schema.fields import Name, PositiveInt, Seconds, SettingsGroup, Version, check_differ
from settings.schema.output_settings import OutputSettings
from settings.schema.preprocessing_settings import CHECKPOINT, PreprocessingSettings


class ParitySettings(SettingsGroup):
    """Comparison with `predict` of the library that wrote a policy's checkpoint, in its own process."""

    library: Literal["auto", "required", "off"]
    python: str | None = Field(description="an interpreter that has the library; null: this one, where it has it")
    observations: Annotated[int, Field(ge=16, le=100_000)] = Field(description="most observations to compare")
    timeout_s: Seconds = Field(description="time limit of the library")
    unpickle: bool = Field(
        description="the library unpickles the checkpoint, which runs code from it; needs served_model.sha256"
    )


ROOT = Path(__file__).resolve().parents[2]
FORMATS, OUTPUTS = ROOT / "serialize" / "formats", ROOT / "handlers" / "outputs"


def _known_format(name: str) -> str:
    """Accept the file names of serialize/formats; without that folder nothing is built, so any name passes."""
    known = sorted(path.stem.replace("_", "-") for path in FORMATS.glob("[a-z]*.py"))
    if known and name not in known:
        raise ValueError(f"must be one of {', '.join(map(repr, known))}")
    return name


def _known_task(name: str) -> str:
    """Accept the files of handlers/outputs that define KIND; without that folder nothing is built.

    Those of `tensors` models and of adopted archives, whose own handler answers, are no choice.
    """
    kinds = (path.stem for path in OUTPUTS.glob("*.py") if "\nKIND = " in path.read_text())
    known = sorted(name for name in kinds if name not in ("adopted", "tensors"))
    if known and name not in known:
        raise ValueError(f"must be one of {', '.join(map(repr, known))}")
    return name


def _known_network(name: str) -> str:
    """Accept a library's network and a function in a module or a file; the build finds out whether it exists."""
    forms = ("torchvision/NAME", "timm/NAME", "package.module:FUNCTION", "path/to/file.py:CLASS")
    if not re.fullmatch(r"resnet18|mobilenet_v3_small|(torchvision|timm)/[\w.-]+|(.+\.py|[\w.]+):[A-Za-z_]\w*", name):
        raise ValueError(f"must be one of {', '.join(forms)}, resnet18 or mobilenet_v3_small")
    return name


class RegistrationSettings(SettingsGroup):
    """Parameters of TorchServe's registration. A change of any of them is a new version."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(description="most requests a worker takes at once")
    max_batch_delay: Annotated[int, Field(ge=0, le=60000)] = Field(
        description="longest wait of a worker for a full batch, in ms"
    )
    initial_workers: Annotated[int, Field(ge=1, le=1024)] = Field(description="workers, each a process")
    response_timeout: Annotated[int, Field(ge=1, le=2_000_000)] | None = Field(
        None,
        description="seconds after which a worker that does not answer is replaced; null: engine.response_timeout_s",
        exclude_if=lambda timeout: timeout is None,  # archives of models that do not name it keep their bytes
    )
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
    """Images for calibrating `onnx-int8`, for choosing the decode level, and for a detector's golden answers."""

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


class RegisteredModel(SettingsGroup):
    """The settings of every model."""

    model_name: Name
    version: Version = "1.0"
    description: str = ""
    request_params: RegistrationSettings


class AdoptedModel(RegisteredModel):
    """The settings of an archive that another tool built; `make adopt` writes them, and the archive holds the rest."""

    kind: Literal["adopted"]


class BuiltModel(RegisteredModel):
    """The settings of every model that is built from a checkpoint."""

    kind: str
    limits: SettingsGroup
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


class VisionModel(BuiltModel):
    """The settings of a picture classifier."""

    kind: Literal["vision"]
    network: Annotated[str, AfterValidator(_known_network)] | None = Field(
        None,
        description="torchvision/NAME, timm/NAME, package.module:FUNCTION or path/to/file.py:CLASS; resnet18 and "
        "mobilenet_v3_small are torchvision's; null: the checkpoint holds its own, or is a snapshot folder",
    )
    network_args: dict[str, Any] = Field(
        {}, description="further arguments of the network's function, by name", exclude_if=lambda args: not args
    )
    checkpoint_prefix: str | None = Field(
        None,
        description="beginning of the names of the network's weights, e.g. model.; needed when several fit",
        exclude_if=lambda prefix: prefix is None,
    )
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
    labels: list[str] | str | None = Field(
        None,
        description="class names in the order of the outputs, or torchvision/WEIGHTS.ENTRY, a text file with a name a "
        "line, an index_to_name.json, or a folder with one folder a class; null: those of the checkpoint's config.json",
    )
    preprocessing: PreprocessingSettings = PreprocessingSettings(preset=CHECKPOINT)
    output: OutputSettings

    @model_validator(mode="after")
    def _only_a_checkpoint_with_its_network_holds_the_rest(self) -> Self:
        if self.network is not None and self.preprocessing.preset == CHECKPOINT:
            raise ValueError(
                "preprocessing is missing; only a snapshot folder of Hugging Face, without network, has it"
            )
        return self

    @model_validator(mode="after")
    def _options_fit_each_other(self) -> Self:
        if self.precision != "float32" and self.artifact.startswith("onnx"):
            raise ValueError(f"precision {self.precision} is for eager, torchscript and aoti, not for {self.artifact}")
        if self.preprocess_in_graph and self.artifact != "onnx":
            raise ValueError(f"preprocess_in_graph is for artifact onnx, not for {self.artifact}")
        if self.preprocessing.dtype == "float32" and (self.artifact == "onnx-int8" or self.decode != "exact"):
            raise ValueError("preprocessing.dtype float32 needs decode exact, and another artifact than onnx-int8")
        if self.preprocess_in_graph and not (self.preprocessing.antialias and self.preprocessing.dtype == "uint8"):
            raise ValueError("preprocess_in_graph antialiases pictures of 8 bits; leave out antialias and dtype")
        if self.preprocess_in_graph and self.decode != "exact":
            raise ValueError("preprocess_in_graph needs decode exact: the graph takes pictures of full size")
        return self

    @model_validator(mode="after")
    def _output_fits_the_task(self) -> Self:
        self.output.check(self.task, self.labels is not None, held=self.network is None)
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


class PolicyModel(BuiltModel):
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
