"""The schema of `config/`: type, range and meaning of every key."""

from typing import Annotated

from pydantic import Field

from errors import ConfigError
from settings.schema.engine_settings import EngineHostSettings, EngineSettings, RayServeSettings, TorchServeSettings
from settings.schema.fields import Name, Port, PositiveInt, Seconds, SettingsGroup, Size, Triple, Version
from settings.schema.gateway_settings import (
    AdmissionSettings,
    Alias,
    ApiKey,
    BreakerSettings,
    CacheSettings,
    CoalesceSettings,
    DialectSettings,
    EdgeSettings,
    GatewaySettings,
    SecuritySettings,
    TracingSettings,
)
from settings.schema.output_settings import OutputSettings
from settings.schema.preprocessing_settings import PreprocessingSettings
from settings.schema.rollout_settings import (
    CanarySettings,
    RolloutSettings,
    ScalingSettings,
    ShadowSettings,
    SigningSettings,
    WorkerLimits,
)
from settings.schema.served_model import (
    AdoptedModel,
    BuiltModel,
    CalibrationSettings,
    DecodeLimits,
    Int8Limits,
    ParitySettings,
    PolicyModel,
    RegistrationSettings,
    VisionModel,
)
from settings.schema.store_settings import LocalStoreSettings, NginxStoreSettings, S3StoreSettings, StoreSettings
from settings.schema.stress_settings import StressSettings, TuneSettings
from settings.schema.tensors_model import (
    ColumnSettings,
    InputSettings,
    OutputTensorSettings,
    TensorSettings,
    TensorsModel,
)

__all__ = [
    "AdmissionSettings",
    "AdoptedModel",
    "Alias",
    "ApiKey",
    "BreakerSettings",
    "BuiltModel",
    "CacheSettings",
    "CalibrationSettings",
    "CanarySettings",
    "CoalesceSettings",
    "ColumnSettings",
    "DecodeLimits",
    "DialectSettings",
    "EdgeSettings",
    "EngineHostSettings",
    "EngineSettings",
    "GatewaySettings",
    "InputSettings",
    "Int8Limits",
    "LocalStoreSettings",
    "Name",
    "NginxStoreSettings",
    "OutputSettings",
    "OutputTensorSettings",
    "ParitySettings",
    "Paths",
    "PolicyModel",
    "Port",
    "PositiveInt",
    "PreprocessingSettings",
    "RayServeSettings",
    "RegistrationSettings",
    "RolloutSettings",
    "S3StoreSettings",
    "ScalingSettings",
    "Seconds",
    "SecuritySettings",
    "ServedModel",
    "Settings",
    "SettingsGroup",
    "ShadowSettings",
    "SigningSettings",
    "Size",
    "StoreSettings",
    "StressSettings",
    "TensorSettings",
    "TensorsModel",
    "TorchServeSettings",
    "TracingSettings",
    "Triple",
    "TuneSettings",
    "Version",
    "VisionModel",
    "WorkerLimits",
]


ServedModel = Annotated[VisionModel | PolicyModel | TensorsModel | AdoptedModel, Field(discriminator="kind")]


class Paths(SettingsGroup):
    """Folders, relative to the project unless absolute."""

    state: str
    archives: str
    weights: str


class Settings(SettingsGroup):
    """All settings, for one model, one engine and one store."""

    served_model: ServedModel
    engine: Annotated[TorchServeSettings | RayServeSettings, Field(discriminator="name")]
    store: StoreSettings
    gateway: GatewaySettings
    edge: EdgeSettings
    stress: StressSettings
    tune: TuneSettings
    rollout: RolloutSettings
    canary: CanarySettings
    shadow: ShadowSettings
    scaling: ScalingSettings
    signing: SigningSettings
    parity: ParitySettings
    paths: Paths

    @property
    def built_model(self) -> VisionModel | PolicyModel | TensorsModel:
        """The model, which is built from a checkpoint. Raises ConfigError for an adopted archive."""
        if isinstance(self.served_model, AdoptedModel):
            name = self.served_model.model_name
            raise ConfigError(f"{name} is an adopted archive, not built from a checkpoint; `make adopt` makes it")
        return self.served_model
