"""`served_model` of kind `tensors`: a graph or module with named inputs and outputs."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from settings.schema.fields import SettingsGroup, check_differ, like
from settings.schema.served_model import BuiltModel

ENVELOPES = ("instances", "inputs")
"""The names under which a request holds many instances, or tensors by name."""

TensorName = Annotated[str, like(r"[^\s]{1,200}", "INPUT0 or input:0, without spaces")]
ColumnName = Annotated[str, like(r".{1,200}", "age or sepal length")]
TensorSize = Annotated[int, Field(ge=-1, le=2**31 - 1)]
Datatype = Literal[
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "BF16",
    "FP32",
    "FP64",
    "BYTES",
]

OwnNetwork = Annotated[str, like(r"(.+\.py|[\w.]+):[A-Za-z_]\w*", "path/to/file.py:CLASS or package.module:FUNCTION")]


class ColumnSettings(SettingsGroup):
    """One named number of an input."""

    name: ColumnName
    unit: str | None = Field(None, description="for people, e.g. years")
    low: float | None = Field(None, description="smallest value that is accepted; null: any")
    high: float | None = Field(None, description="largest value that is accepted; null: any")
    categories: list[str] | None = Field(
        None, description="texts that requests send; the network gets their index, or the text where it reads BYTES"
    )

    @model_validator(mode="after")
    def _bounds_fit(self) -> Self:
        _check_bounds(self.name, self.low, self.high)
        if self.categories is not None:
            if self.low is not None or self.high is not None:
                raise ValueError(f"{self.name}: categories have no bounds")
            check_differ(f"categories of {self.name}", self.categories)
        return self


class TensorSettings(SettingsGroup):
    """Name, datatype and shape of an input or output, without the axis that counts instances."""

    name: TensorName
    datatype: Datatype | None = Field(None, description="null: as the ONNX file says")
    shape: list[TensorSize] | None = Field(
        None, description="of one instance, -1 for any size; null: as the ONNX file says"
    )


class InputSettings(TensorSettings):
    """One input of the network."""

    low: float | None = Field(None, description="smallest number that is accepted; null: any")
    high: float | None = Field(None, description="largest number that is accepted; null: any")
    format: Literal["NCHW", "NHWC"] | None = Field(
        None, description="of a preprocessed picture: the order of its axes, for clients that prepare pictures"
    )
    columns: list[ColumnSettings] | None = Field(None, description="names of the input's numbers, for tables")

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        _check_bounds(self.name, self.low, self.high)
        if self.columns is None:
            return self
        if self.low is not None or self.high is not None:
            raise ValueError(f"{self.name}: the bounds of columns are their own")
        if self.shape is not None and self.shape not in ([len(self.columns)], [] if len(self.columns) == 1 else None):
            raise ValueError(f"{self.name}: {len(self.columns)} columns for shape {self.shape}")
        return self


class OutputTensorSettings(TensorSettings):
    """One output of the network."""

    labels: list[str] | None = Field(None, description="names of its numbers, for the classification extension")

    @model_validator(mode="after")
    def _labels_fit(self) -> Self:
        if self.labels is not None:
            check_differ(f"labels of {self.name}", self.labels)
            if self.shape is not None and self.shape != [len(self.labels)]:
                raise ValueError(f"{self.name}: {len(self.labels)} labels for shape {self.shape}")
        return self


class TensorsLimits(SettingsGroup):
    """Limits of one request, because a worker serves no other client meanwhile."""

    max_instances: Annotated[int, Field(ge=1, le=65536)] = Field(4096, description="instances, or rows of a table")


class TensorsModel(BuiltModel):
    """The settings of a graph or module with named inputs and outputs."""

    kind: Literal["tensors"]
    artifact: Literal["onnx", "torchscript", "pt2", "eager"] = Field(
        "onnx", description="the checkpoint as it is: a graph; eager: the weights of `network`"
    )
    task: Literal["tensors"] | None = Field(None, exclude_if=lambda task: task is None)
    network: OwnNetwork | None = Field(
        None,
        description="artifact eager: path/to/file.py:CLASS or package.module:FUNCTION; without weights of its own, its "
        "file is the checkpoint",
    )
    network_args: dict[str, Any] = Field(
        {}, description="further arguments of the network's function, by name", exclude_if=lambda args: not args
    )
    batched: bool = Field(description="the first axis of every input and output counts instances")
    inputs: list[InputSettings] | None = Field(
        None, description="in the order in which the network takes them; null: those of the ONNX file"
    )
    outputs: list[OutputTensorSettings] | None = Field(
        None, description="in the order in which the network returns them; null: those of the ONNX file"
    )
    samples: str | None = Field(
        None, description="JSON file with a list of instances for the golden answers; null: generated within the bounds"
    )
    limits: TensorsLimits = TensorsLimits()

    @model_validator(mode="after")
    def _is_declared(self) -> Self:
        if (self.artifact == "eager") != (self.network is not None):
            raise ValueError("artifact eager needs network, and no other artifact has one")
        if self.weights == "random":
            raise ValueError("weights random are those of a network of Marina's; name a checkpoint")
        for key, tensors in (("inputs", self.inputs), ("outputs", self.outputs)):
            _check_tensors(key, tensors, self.artifact)
        columns = [column.name for each in self.inputs or () for column in each.columns or ()]
        check_differ("columns", columns)
        for name in (*columns, *(each.name for each in self.inputs or ())):
            if name in ENVELOPES:
                raise ValueError(f"no input or column may have the name {name!r}, which requests use otherwise")
        return self


def _check_tensors(key: str, tensors: list[Any] | None, artifact: str) -> None:
    check_differ(key, [each.name for each in tensors or ()])
    if artifact == "onnx":
        return
    if not tensors:
        raise ValueError(f"{key} are missing: artifact {artifact} does not say them")
    if any(each.datatype is None or each.shape is None for each in tensors):
        raise ValueError(f"{key} need datatype and shape: artifact {artifact} does not say them")


def _check_bounds(name: str, low: float | None, high: float | None) -> None:
    if low is not None and high is not None and low > high:
        raise ValueError(f"{name}: low {low:g} is above high {high:g}")
