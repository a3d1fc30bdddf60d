"""`engine=ray`: Ray Serve, on this machine or on a cluster that runs already."""

from typing import Annotated, Literal

from pydantic import Field

from settings.schema.base import Port, PositiveInt
from settings.schema.engine import Engine

Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9._\[\]:-]+:[0-9]+$")]


class RayServe(Engine):
    """Ray Serve behind TorchServe's own interfaces; the stack starts a head of its own unless `address` names one."""

    name: Literal["ray"]
    address: Address | None = Field(None, description="HOST:PORT of a cluster that runs already; null: one of our own")
    declared: bool = Field(
        False, description="whether models are declared to Serve, and the manager describes them and changes nothing"
    )
    ray_port: Port = Field(description="where the head of our own cluster is found by its other nodes")
    proxies: Literal["none", "head", "every"] = Field(
        description="who takes requests: the Front itself, on the head; or Ray's proxies, on the head or on every node"
    )
    fronts: PositiveInt = Field(description="processes that read requests and form batches")
    cpus: Annotated[float, Field(ge=0)] | None = Field(None, description="cores that the head offers; null: all")
    worker_cpus: Annotated[float, Field(ge=0)] = Field(description="cores that Ray sets aside for a worker")
    worker_gpus: Annotated[float, Field(ge=0)] = Field(description="GPUs, or the share of one, that a worker gets")
    object_store_bytes: Annotated[int, Field(ge=78643200)] = Field(description="shared memory of a node")
    dashboard_port: Port | None = Field(None, description="null: no dashboard")
