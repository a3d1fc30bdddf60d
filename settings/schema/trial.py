"""`canary` and `shadow`: how a new version proves itself on real requests before it takes them all."""

from typing import Annotated

from pydantic import Field

from settings.schema.base import Frozen, PositiveInt, Seconds

Share = Annotated[float, Field(ge=0, le=1)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]


class Canary(Frozen):
    """A share of the traffic for the new version, and what it is judged by."""

    weight: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of the requests it answers; 0: no canary")
    sticky_header: HeaderName | None = Field(description="header whose value keeps a client on one side; null: none")
    minutes: Seconds = Field(description="how long it answers its share before it is judged")
    min_requests: PositiveInt = Field(description="fewer than this prove nothing, and it is withdrawn")
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(description="chance of withdrawing a version that is no worse")
    max_latency_ratio: Annotated[float, Field(ge=1)] = Field(description="its p95 to the old one's, at most")


class Shadow(Frozen):
    """Copies of the traffic for the new version, whose answers are compared and thrown away."""

    share: Share = Field(description="share of the requests that are copied; 0: no shadow")
    minutes: Seconds = Field(description="how long, when there is no canary whose time counts")
    only: bool = Field(description="report and remove the new version again, whatever the result")
    max_copies: PositiveInt = Field(description="copies under way at once; more are dropped, and counted")
    timeout_s: Seconds = Field(description="after which a copy is given up")
    min_compared: PositiveInt = Field(description="fewer compared answers than this prove nothing")
    tolerance: Annotated[float, Field(ge=0)] = Field(description="continuous actions this near are the same")
    max_disagreement: Share = Field(description="share of answers that may differ in label or action")
