"""`parity`: what a policy's answers are held against beside the kit's own reconstruction."""

from typing import Annotated, Literal

from pydantic import Field

from settings.schema.base import Frozen, Seconds


class LibraryParity(Frozen):
    """`predict` of the library that wrote a policy's checkpoint, in a process of its own."""

    library: Literal["auto", "required", "off"]
    python: str | None = Field(description="an interpreter that has the library; null: this one, where it has it")
    observations: Annotated[int, Field(ge=16, le=100_000)] = Field(description="how many are compared at most")
    timeout_s: Seconds = Field(description="how long the library may take")
    unpickle: bool = Field(
        description="the library unpickles the checkpoint, which runs code from it; needs served_model.sha256"
    )
