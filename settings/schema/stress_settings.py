"""`stress` and `tune`: the load on the running stack, and the search for the best registration under it."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.schema.fields import Name, PositiveInt, Seconds, SettingsGroup, Size, like


class StressSettings(SettingsGroup):
    """The load that run_stress puts on the running stack."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    clients: PositiveInt = Field(description="requests in flight at any moment of a closed loop")
    rate: Annotated[float, Field(gt=0)] | None = Field(None, description="requests a second; null for a closed loop")
    arrivals: Literal["poisson", "constant"] = Field("poisson", description="gaps between the requests of an open loop")
    requests: PositiveInt = Field(description="of a round")
    seconds: Seconds | None = Field(None, description="length of a round; null: it ends after `requests`")
    rounds: PositiveInt
    warmup: Annotated[int, Field(ge=0)] = Field(description="requests before the first round, not counted")
    timeout_s: Seconds
    mix: dict[Name, Annotated[float, Field(gt=0)]] = Field({}, description="models and their shares of the requests")
    inputs: str | None = Field(
        description="folder of pictures, one picture or a JSON file of states; null: generated ones"
    )
    environment: str | None = Field(None, description="Gymnasium environment that each client plays: CartPole-v1")
    picture_size: Size = Field(description="[height, width] of generated pictures, in pixels")
    seed: int = Field(description="the same seed generates the same inputs")
    report: str | None = Field(description="file for the report as JSON; null for a dated one in `reports`")
    reports: str | None = Field(None, description="folder for dated reports, JSON and HTML; null for none")

    @model_validator(mode="after")
    def _environment_is_played_by_clients(self) -> Self:
        if self.environment is not None and self.rate is not None:
            raise ValueError("an environment waits for its action, so it cannot send at a rate: leave stress.rate out")
        if self.environment is not None and (self.mix or self.inputs):
            raise ValueError("stress.environment goes with neither stress.mix nor stress.inputs")
        return self


Numbers = Annotated[list[PositiveInt], Field(min_length=1)]


class TuneSettings(SettingsGroup):
    """The search for the registration settings that serve a latency goal best, under the load of `stress`."""

    slo: Annotated[str, like(r"p(50|90|95|99|99\.9):[0-9]+(\.[0-9]+)?(ms|s)", "p99:80ms or p50:0.1s")] = Field(
        description="the goal: a percentile and its limit, e.g. p99:80ms"
    )
    minutes: Annotated[float, Field(gt=0)] = Field(description="the search ends after this, resumed parts included")
    seconds: Seconds = Field(description="length of a round")
    rounds: PositiveInt = Field(
        description="rounds of the first trial of a setting; a promising one gets as many again"
    )
    finalists: PositiveInt = Field(description="settings that are measured again in turn before one is chosen")
    repeats: Annotated[int, Field(ge=0)] = Field(description="number of these further measurements")
    workers: Numbers | None = Field(description="values to try; null: up to the cores")
    threads: Numbers | None = Field(description="values to try; null: up to the cores")
    batch_size: Numbers | None = Field(description="values to try; null: up to what the load can fill")
    max_batch_delay: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        description="values to try, in ms; null: 0 to 20"
    )
    coalesce: Numbers | None = Field(description="values to try, policies only; null: 1 to 256")
    dry_run: bool = Field(description="write no file, and restore the former settings at the end")
    file: str | None = Field(description="file for the settings; null: config/served_model/NAME.tuned.yaml")
