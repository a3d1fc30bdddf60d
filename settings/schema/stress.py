"""`stress`: the load that run_stress puts on the running stack."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.schema.base import Frozen, Name, PositiveInt, Seconds, Size


class Stress(Frozen):
    """The load that run_stress puts on the running stack."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    clients: PositiveInt = Field(description="requests in flight at any moment of a closed loop")
    rate: Annotated[float, Field(gt=0)] | None = Field(None, description="requests a second; null for a closed loop")
    arrivals: Literal["poisson", "constant"] = Field("poisson", description="of an open loop: its gaps")
    requests: PositiveInt = Field(description="of a round")
    seconds: Seconds | None = Field(None, description="length of a round; null: it ends after `requests`")
    rounds: PositiveInt
    warmup: Annotated[int, Field(ge=0)] = Field(description="requests before the first round, kept apart")
    timeout_s: Seconds
    mix: dict[Name, Annotated[float, Field(gt=0)]] = Field({}, description="models and their shares of the requests")
    inputs: str | None = Field(description="folder of pictures, one picture or a JSON file of states; null: made ones")
    environment: str | None = Field(None, description="Gymnasium environment that each client plays: CartPole-v1")
    picture_size: Size = Field(description="[height, width] of made pictures, in pixels")
    seed: int = Field(description="of what is made; the same seed makes the same inputs")
    report: str | None = Field(description="file for the report as JSON; null for a dated one in `reports`")
    reports: str | None = Field(None, description="folder for dated reports, JSON and HTML; null for none")

    @model_validator(mode="after")
    def _environment_is_played_by_clients(self) -> Self:
        if self.environment is not None and self.rate is not None:
            raise ValueError("an environment waits for its action, so it cannot come at a rate: leave stress.rate out")
        if self.environment is not None and (self.mix or self.inputs):
            raise ValueError("stress.environment goes with neither stress.mix nor stress.inputs")
        return self
