"""`scaling`: how many workers a model has, decided by how long its requests wait."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from settings.schema.base import Frozen, Name, Port, PositiveInt, Seconds


class WorkerLimits(Frozen):
    """Between which numbers of workers a model is kept, on each engine host."""

    min_workers: PositiveInt
    max_workers: PositiveInt

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError("min_workers must not be above max_workers")
        return self


class Scaling(Frozen):
    """When a worker is added, and when one goes."""

    models: dict[Name, WorkerLimits] = Field(description="the models that are scaled; empty turns it off")
    target_queue_ms: Annotated[float, Field(gt=0)] = Field(description="mean wait beyond which a worker is added")
    calm_queue_ms: Annotated[float, Field(ge=0)] = Field(description="mean wait up to which one may go")
    up_after_s: Seconds = Field(description="for how long it must have been beyond")
    down_after_s: Seconds = Field(description="for how long it must have been calm")
    check_s: Seconds = Field(description="how often the gateway is asked")
    metrics_port: Port | None = Field(description="where the scaler shows its own figures, on loopback; null: nowhere")

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.calm_queue_ms >= self.target_queue_ms:
            raise ValueError("calm_queue_ms must be below target_queue_ms, or workers would come and go for ever")
        return self
