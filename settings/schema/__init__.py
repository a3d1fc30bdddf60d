"""What may stand in `config/`, key by key: the types, ranges and meanings of every setting, one file a group."""

from typing import Annotated

from pydantic import Field

from settings.schema.base import Frozen, Name, Port, PositiveInt, Seconds, Size, Triple, Version
from settings.schema.edge import Edge
from settings.schema.engine import Engine, Node, TorchServe
from settings.schema.gateway import Admission, Alias, ApiKey, Breaker, Cache, Coalesce, Gateway, Security, Tracing
from settings.schema.parity import LibraryParity
from settings.schema.ray import RayServe
from settings.schema.rollout import Rollout, Signing
from settings.schema.scaling import Scaling, WorkerLimits
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
from settings.schema.trial import Canary, Shadow
from settings.schema.tune import Tune

__all__ = [
    "Admission",
    "Alias",
    "ApiKey",
    "Breaker",
    "Cache",
    "Calibration",
    "Canary",
    "Coalesce",
    "DecodeLimits",
    "Edge",
    "Engine",
    "Frozen",
    "Gateway",
    "Int8Limits",
    "LibraryParity",
    "LocalStore",
    "Name",
    "NginxStore",
    "Node",
    "Output",
    "Paths",
    "PolicyModel",
    "Port",
    "PositiveInt",
    "Preprocessing",
    "RayServe",
    "RequestParams",
    "Rollout",
    "S3Store",
    "Scaling",
    "Seconds",
    "Security",
    "ServedModel",
    "Settings",
    "Shadow",
    "Signing",
    "Size",
    "Store",
    "Stress",
    "TorchServe",
    "Tracing",
    "Triple",
    "Tune",
    "Version",
    "VisionModel",
    "WorkerLimits",
]


class Paths(Frozen):
    """Folders, relative to the project unless absolute."""

    state: str
    archives: str
    weights: str


class Settings(Frozen):
    """Everything that `config/` says, for one model, engine and store."""

    served_model: ServedModel
    engine: Annotated[TorchServe | RayServe, Field(discriminator="name")]
    store: Store
    gateway: Gateway
    edge: Edge
    stress: Stress
    tune: Tune
    rollout: Rollout
    canary: Canary
    shadow: Shadow
    scaling: Scaling
    signing: Signing
    parity: LibraryParity
    paths: Paths
