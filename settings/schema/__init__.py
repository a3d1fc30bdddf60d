"""The schema of `config/`: type, range and meaning of every key."""

from typing import Annotated

from pydantic import Field

from settings.schema.engine_settings import EngineHostSettings, EngineSettings, RayServeSettings, TorchServeSettings
from settings.schema.fields import Name, Port, PositiveInt, Seconds, SettingsGroup, Size, Triple, Version
from settings.schema.gateway_settings import (
    AdmissionSettings,
    Alias,
    ApiKey,
    BreakerSettings,
    CacheSettings,
    CoalesceSettings,
    EdgeSettings,
    GatewaySettings,
    SecuritySettings,
    TracingSettings,
)
from settings.schema.rollout_settings import (
    CanarySettings,
    RolloutSettings,
    ScalingSettings,
    ShadowSettings,
    SigningSettings,
    WorkerLimits,
)
from settings.schema.served_model import (
    CalibrationSettings,
    DecodeLimits,
    Int8Limits,
    OutputSettings,
    ParitySettings,
    PolicyModel,
    PreprocessingSettings,
    RegistrationSettings,
    ServedModel,
    VisionModel,
)
from settings.schema.store_settings import LocalStoreSettings, NginxStoreSettings, S3StoreSettings, StoreSettings
from settings.schema.stress_settings import StressSettings, TuneSettings

__all__ = [
    "AdmissionSettings",
    "Alias",
    "ApiKey",
    "BreakerSettings",
    "CacheSettings",
    "CalibrationSettings",
    "CanarySettings",
    "CoalesceSettings",
    "DecodeLimits",
    "EdgeSettings",
    "EngineHostSettings",
    "EngineSettings",
    "GatewaySettings",
    "Int8Limits",
    "LocalStoreSettings",
    "Name",
    "NginxStoreSettings",
    "OutputSettings",
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
    "TorchServeSettings",
    "TracingSettings",
    "Triple",
    "TuneSettings",
    "Version",
    "VisionModel",
    "WorkerLimits",
]


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
