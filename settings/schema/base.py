"""The types that the groups share: ports, names, sizes, and what every group of settings is."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")]
PositiveInt = Annotated[int, Field(ge=1)]
Triple = tuple[float, float, float]
Size = tuple[PositiveInt, PositiveInt]


class Frozen(BaseModel):
    """A group of settings: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")
