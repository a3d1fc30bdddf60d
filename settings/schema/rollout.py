"""`rollout` and `signing`: how a version comes to serve, and whom its archive must be from."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from settings.schema.base import Frozen, PositiveInt, Seconds


class Rollout(Frozen):
    """How a version is brought to serve, judged and taken back."""

    dry_run: bool = Field(description="say what would happen, and change nothing")
    tuned: bool = Field(
        True, description="register with config/served_model/NAME.tuned.yaml, where `make tune` wrote it"
    )
    max_unpacked_bytes: PositiveInt = Field(description="an archive that claims more is refused")
    fetch_timeout_s: Seconds = Field(description="how long the engine may take to fetch and unpack an archive")
    workers_timeout_s: Seconds = Field(description="how long the new version's workers may take to load")
    warm_requests: Annotated[int, Field(ge=0)] = Field(description="requests to each new worker before the switch")
    watch_s: Annotated[float, Field(ge=0)] = Field(description="how long the new version is watched after the switch")
    max_error_share: Annotated[float, Field(ge=0, le=1)] = Field(description="failed answers beyond which it goes back")
    min_errors: PositiveInt = Field(description="fewer failed answers than this never take a version back")
    drain_timeout_s: Seconds = Field(description="how long the old version may take to finish what it holds")
    keep_versions: Annotated[int, Field(ge=0)] = Field(description="former versions whose archives are kept")


class Signing(Frozen):
    """Ed25519 signatures of archives."""

    key: str | None = Field(description="private key that builds sign with; null for unsigned archives")
    public_key: str | None = Field(description="public key that deliveries check with; null for no check")
    required: bool = Field(description="refuse unsigned archives")

    @model_validator(mode="after")
    def _required_can_be_checked(self) -> Self:
        if self.required and self.public_key is None:
            raise ValueError("signing.required needs signing.public_key to check with")
        return self
