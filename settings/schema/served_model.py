"""`served_model`: what is built and served."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.schema.base import Frozen, Name, PositiveInt, Size, Triple, Version


class Preprocessing(Frozen):
    """How a picture becomes the network's input; the archive carries it to the worker."""

    resize: Size | PositiveInt = Field(description="[height, width], or one number for the shorter side, in pixels")
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    crop: Size | None = Field(None, description="centre crop [height, width] after resizing, in pixels")
    mean: Triple = Field(description="subtracted from each channel, after scaling to 0..1")
    std: Triple = Field(description="divides each channel, after the mean is gone")

    @model_validator(mode="after")
    def _leaves_one_size(self) -> Self:
        if isinstance(self.resize, int) and self.crop is None:
            raise ValueError("resize by the shorter side needs a crop: a batch must have one size")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        return self


class Output(Frozen):
    """How the network's output becomes an answer."""

    activation: Literal["softmax", "sigmoid"]
    thresholds: float | list[float] = Field(0.5, description="sigmoid only: where a label starts to hold, 0..1")
    top_k: PositiveInt | None = Field(None, description="how many classes an answer lists; null for all")


class RequestParams(Frozen):
    """What TorchServe is told at registration. A change of any is a new version."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(description="most requests a worker takes at once")
    max_batch_delay: Annotated[int, Field(ge=0, le=60000)] = Field(
        description="how long a worker waits for its batch to fill, in ms"
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
        """What TorchServe has no parameter for, and what an upload stamps into the archive's manifest instead."""
        each = {"threads": self.threads, "coalesce": self.coalesce}
        return {name: value for name, value in each.items() if value is not None}


class _Model(Frozen):
    model_name: Name
    version: Version = "1.0"
    description: str = ""
    handler: str = Field(description="file of the handler class, packed into the archive")
    checkpoint: str = Field(description="path of the trained weights, or the URL that download_weights fetches")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = Field(
        None, description="checksum of the checkpoint, or its first digits"
    )
    weights: Literal["checkpoint", "random"] = Field("checkpoint", description="random is named in every answer")
    artifact: Literal["eager", "torchscript", "onnx"] = "onnx"
    request_params: RequestParams


class VisionModel(_Model):
    """A picture classifier."""

    kind: Literal["vision"]
    network: Literal["mobilenet_v3_small", "resnet18"]
    decode: Literal["exact"] = "exact"
    labels: list[str] | str = Field(description="class names in the order of the outputs, or torchvision/WEIGHTS.ENTRY")
    preprocessing: Preprocessing
    output: Output

    @model_validator(mode="after")
    def _thresholds_fit_labels(self) -> Self:
        if isinstance(self.labels, list):
            if len(set(self.labels)) != len(self.labels):
                raise ValueError("labels must differ from each other")
            if isinstance(self.output.thresholds, list) and len(self.output.thresholds) != len(self.labels):
                raise ValueError(f"{len(self.output.thresholds)} thresholds for {len(self.labels)} labels")
        return self


class Normalization(Frozen):
    """What VecNormalize did to an observation: subtract the mean, divide by the root of var + epsilon, clip."""

    mean: list[float] = Field(description="one for each number of the observation, in its order")
    var: list[float]
    epsilon: Annotated[float, Field(ge=0)] = 1e-8
    clip: Annotated[float, Field(gt=0)] = Field(10.0, description="VecNormalize's clip_obs")


class ObservationSettings(Frozen):
    """How an observation is prepared, where the checkpoint does not say."""

    normalization: str | Normalization | dict[str, Normalization] | None = Field(
        None, description="VecNormalize's figures, by part for a dict of parts; or the .npz or .json file that has them"
    )


class PolicyModel(_Model):
    """A reinforcement-learning policy."""

    kind: Literal["policy"]
    fields: list[str] | None = Field(None, description="names of the observation's numbers, in order")
    actions: list[str] | None = Field(None, description="names of the discrete actions, for people")
    observation: ObservationSettings = ObservationSettings(normalization=None)
    out_of_range: Literal["reject", "clip"] = Field("reject", description="what an observation outside its space gets")


ServedModel = Annotated[VisionModel | PolicyModel, Field(discriminator="kind")]
