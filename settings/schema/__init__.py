"""What may stand in `config/`, key by key: the types, ranges and meanings of every setting, one file a group."""

from settings.schema.base import Frozen, Name, Port, PositiveInt, Seconds, Size, Triple, Version
from settings.schema.edge import Edge
from settings.schema.engine import TorchServe
from settings.schema.gateway import Admission, Alias, ApiKey, Breaker, Cache, Coalesce, Gateway, Security, Tracing
from settings.schema.rollout import Rollout, Signing
from settings.schema.served_model import (
    Calibration,
    DecodeLimits,
    Int8Limits,
    Output,
    PolicyModel,
    Preprocessing,
    RequestParams,
    ServedModel,
    VisionModel,
)
from settings.schema.store import LocalStore, NginxStore, S3Store, Store
from settings.schema.stress import Stress

__all__ = [
    "Admission",
    "Alias",
    "ApiKey",
    "Breaker",
    "Cache",
    "Calibration",
    "Coalesce",
    "DecodeLimits",
    "Edge",
    "Frozen",
    "Gateway",
    "Int8Limits",
    "LocalStore",
    "Name",
    "NginxStore",
    "Output",
    "Paths",
    "PolicyModel",
    "Port",
    "PositiveInt",
    "Preprocessing",
    "RequestParams",
    "Rollout",
    "S3Store",
    "Seconds",
    "Security",
    "ServedModel",
    "Settings",
    "Signing",
    "Size",
    "Store",
    "Stress",
    "TorchServe",
    "Tracing",
    "Triple",
    "Version",
    "VisionModel",
]


class Paths(Frozen):
    """Folders, relative to the project unless absolute."""

    state: str
    archives: str
    weights: str


class Settings(Frozen):
    """Everything that `config/` says, for one model, engine and store."""

    served_model: ServedModel
    engine: TorchServe
    store: Store
    gateway: Gateway
    edge: Edge
    stress: Stress
    rollout: Rollout
    signing: Signing
    paths: Paths
