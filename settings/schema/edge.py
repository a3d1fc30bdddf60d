"""`edge`: a policy compiled into nginx."""

from typing import Annotated

from pydantic import Field, field_validator

from settings.schema.base import Frozen, Port, PositiveInt


class Edge(Frozen):
    """The policy edge: a policy compiled into nginx."""

    host: str
    port: Port
    workers: Annotated[int, Field(ge=1, le=64)]
    compiler: str = Field(description="auto for cc, or the name of a program")
    max_body_bytes: PositiveInt
    timeout_s: PositiveInt = Field(description="how long a client may pause while it sends or takes something")
    access_log: bool = Field(description="a log line for each request")
    parity_states: PositiveInt = Field(description="random states that are compared with the handler before serving")

    @field_validator("compiler")
    @classmethod
    def _no_lua(cls, value: str) -> str:
        if value == "none":
            install = "install a compiler with: apt-get install gcc libc6-dev nginx-dev"
            raise ValueError(f"must be auto or a program, because the edge in Lua is gone ({install})")
        return value

    @property
    def url(self) -> str:
        """Base under which it answers."""
        return f"http://{self.host}:{self.port}"
