"""`rollout`, `signing`, `canary`, `shadow` and `scaling`: the rollout of a version, and its workers."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from settings.schema.fields import Name, Port, PositiveInt, Seconds, SettingsGroup


class RolloutSettings(SettingsGroup):
    """Rollout of a version, its verdict and rollback."""

    dry_run: bool = Field(description="print the steps and change nothing")
    tuned: bool = Field(
        True, description="register with config/served_model/NAME.tuned.yaml, where `make tune` wrote it"
    )
    max_unpacked_bytes: PositiveInt = Field(description="largest size of an unpacked archive")
    fetch_timeout_s: Seconds = Field(description="time limit for the engine to fetch and unpack an archive")
    workers_timeout_s: Seconds = Field(description="time limit for the new version's workers to load")
    warm_requests: Annotated[int, Field(ge=0)] = Field(description="requests to each new worker before the switch")
    watch_s: Annotated[float, Field(ge=0)] = Field(description="length of the watch after the switch")
    max_error_share: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of failed answers beyond which it is rolled back"
    )
    min_errors: PositiveInt = Field(description="fewer failed answers than this never cause a rollback")
    drain_timeout_s: Seconds = Field(description="time limit for the old version to finish its requests")
    keep_versions: Annotated[int, Field(ge=0)] = Field(description="former versions whose archives are kept")


class SigningSettings(SettingsGroup):
    """Ed25519 signatures of archives."""

    key: str | None = Field(description="private key that builds sign with; null for unsigned archives")
    public_key: str | None = Field(description="public key that deliveries check with; null for no check")
    required: bool = Field(description="refuse unsigned archives")

    @model_validator(mode="after")
    def _required_can_be_checked(self) -> Self:
        if self.required and self.public_key is None:
            raise ValueError("signing.required needs signing.public_key to check with")
        return self


Share = Annotated[float, Field(ge=0, le=1)]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9-]+$")]


class CanarySettings(SettingsGroup):
    """A share of the traffic for the new version, and the rules of its verdict."""

    weight: Annotated[float, Field(ge=0, lt=1)] = Field(description="share of the requests it answers; 0: no canary")
    sticky_header: HeaderName | None = Field(description="header whose value keeps a client on one version; null: none")
    minutes: Seconds = Field(description="time for which it answers its share before the verdict")
    min_requests: PositiveInt = Field(description="with fewer requests than this it is withdrawn")
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = Field(
        description="chance of withdrawing a version that is not worse"
    )
    max_latency_ratio: Annotated[float, Field(ge=1)] = Field(description="its p95 to the old one's, at most")


class ShadowSettings(SettingsGroup):
    """Copies of the traffic for the new version; its answers are compared and discarded."""

    share: Share = Field(description="share of the requests that are copied; 0: no shadow")
    minutes: Seconds = Field(description="duration, unless a canary runs, whose duration then applies")
    only: bool = Field(description="report and remove the new version again, whatever the result")
    max_copies: PositiveInt = Field(description="most copies at once; further ones are dropped and counted")
    timeout_s: Seconds = Field(description="time limit of a copy")
    min_compared: PositiveInt = Field(description="fewest compared answers for a verdict")
    tolerance: Annotated[float, Field(ge=0)] = Field(description="largest difference between equal continuous actions")
    max_disagreement: Share = Field(description="share of answers that may differ in label or action")


class WorkerLimits(SettingsGroup):
    """The least and the largest number of workers of a model on each engine host."""

    min_workers: PositiveInt
    max_workers: PositiveInt

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min_workers > self.max_workers:
            raise ValueError("min_workers must not be above max_workers")
        return self


class ScalingSettings(SettingsGroup):
    """The rules by which workers are added and removed."""

    models: dict[Name, WorkerLimits] = Field(description="the models that are scaled; empty turns it off")
    target_queue_ms: Annotated[float, Field(gt=0)] = Field(description="mean wait beyond which a worker is added")
    calm_queue_ms: Annotated[float, Field(ge=0)] = Field(description="mean wait up to which a worker may be removed")
    up_after_s: Seconds = Field(description="time for which the wait must have been longer")
    down_after_s: Seconds = Field(description="time for which the wait must have been short")
    check_s: Seconds = Field(description="interval between two readings of the gateway's metrics")
    metrics_port: Port | None = Field(description="port of the scaler's own metrics, on loopback; null: none")

    @model_validator(mode="after")
    def _hysteresis(self) -> Self:
        if self.calm_queue_ms >= self.target_queue_ms:
            raise ValueError("calm_queue_ms must be below target_queue_ms, or workers would come and go for ever")
        return self
