"""`stress`: the load that run_stress puts on the running stack."""

from typing import Annotated

from pydantic import Field

from settings.schema.base import Frozen, PositiveInt, Seconds, Size


class Stress(Frozen):
    """The load that run_stress puts on the running stack."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    clients: PositiveInt
    requests: PositiveInt
    rounds: PositiveInt
    warmup: Annotated[int, Field(ge=0)]
    timeout_s: Seconds
    inputs: str | None = Field(description="folder of pictures, one picture or a JSON file of states; null: made ones")
    picture_size: Size = Field(description="[height, width] of made pictures, in pixels")
    seed: int = Field(description="of what is made; the same seed makes the same inputs")
    report: str | None = Field(description="file for the report as JSON; null for none")
