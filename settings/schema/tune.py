"""`tune`: the search for the registration settings that serve a latency goal best."""

from typing import Annotated

from pydantic import Field

from settings.schema.base import Frozen, PositiveInt, Seconds, like

Numbers = Annotated[list[PositiveInt], Field(min_length=1)]


class Tune(Frozen):
    """The search for the registration settings that serve a latency goal best, under the load of `stress`."""

    slo: Annotated[str, like(r"p(50|90|95|99|99\.9):[0-9]+(\.[0-9]+)?(ms|s)", "p99:80ms or p50:0.1s")] = Field(
        description="the goal: a percentile and its limit, e.g. p99:80ms"
    )
    minutes: Annotated[float, Field(gt=0)] = Field(description="the search ends after this, resumed parts included")
    seconds: Seconds = Field(description="length of a round")
    rounds: PositiveInt = Field(description="rounds of the first look at a setting; a promising one gets as many again")
    finalists: PositiveInt = Field(description="settings that are measured again in turn before one is chosen")
    repeats: Annotated[int, Field(ge=0)] = Field(description="how often they are")
    workers: Numbers | None = Field(description="values to try; null: up to the cores")
    threads: Numbers | None = Field(description="values to try; null: up to the cores")
    batch_size: Numbers | None = Field(description="values to try; null: up to what the load can fill")
    max_batch_delay: Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = Field(
        description="values to try, in ms; null: 0 to 20"
    )
    coalesce: Numbers | None = Field(description="values to try, policies only; null: 1 to 256")
    dry_run: bool = Field(description="write no file, and serve at the end what was served before")
    file: str | None = Field(description="where the settings go; null: config/served_model/NAME.tuned.yaml")
