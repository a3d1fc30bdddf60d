"""`gateway` and `edge`: the servers that clients reach."""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator

from errors import ConfigError
from settings.schema.fields import Name, Port, PositiveInt, Seconds, SettingsGroup, check_differ, like

Instance = Annotated[
    str, like(r"([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?", "gateway-pods, 10.0.0.7 or 127.0.0.1:5013")
]
RoutePath = Annotated[str, like(r"/[A-Za-z0-9._~:@/-]+", "/v1/models/name:predict")]
Link = Annotated[str, Field(pattern=r"^(https?://[^\s]+)?$")]


class Alias(SettingsGroup):
    """A short route: its model, and the forms of request and response."""

    path: Annotated[str, Field(pattern=r"^/[a-z0-9_/-]*$")]
    model: Name | None = Field(None, description="null: the only one that is served and fits")
    request: Literal["picture_field_image", "state", "picture_base64", "one_picture"]
    response: Literal["probabilities", "action", "label", "label_confidence"]
    example: dict[str, float] | None = Field(None, description="a state that the documentation shows and sends")


class AdmissionSettings(SettingsGroup):
    """The limits of a model's queue; beyond them the gateway answers 429 at once."""

    max_places: PositiveInt = Field(description="requests of one model in the gateway, waiting or in the engine")
    max_wait_ms: PositiveInt | None = Field(
        description="longest wait; a request that would wait longer is refused; null: limited by its deadline"
    )
    models: dict[Name, PositiveInt] = Field(description="max_places of single models, by name")


class CoalesceSettings(SettingsGroup):
    """Sending concurrent single observations of one policy to the engine as one request."""

    enabled: bool
    max_batch: Annotated[int, Field(ge=2, le=4096)] = Field(description="most observations in one request")
    max_delay_ms: Annotated[float, Field(ge=0)] = Field(description="longest wait for the previous request's response")


class CacheSettings(SettingsGroup):
    """The response cache, keyed by the content of the request."""

    max_entries: Annotated[int, Field(ge=0)] = Field(description="0 turns it off")
    ttl_s: Seconds


class BreakerSettings(SettingsGroup):
    """The circuit breaker of a model."""

    failures: PositiveInt = Field(description="failures in a row that open it")
    open_ms: PositiveInt = Field(description="time for which it stays open before one request may try")


class ApiKey(SettingsGroup):
    """One client: the SHA-256 of its key, as `python -m gateway.apikey` prints it; the key itself is not stored."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    rate: Annotated[str, like(r"[1-9][0-9]* ?(/|per) ?(second|minute|hour|day)", "100/second")] | None = Field(
        None, description="requests, e.g. 100/second, in all processes of a gateway together; null for no limit"
    )


class SecuritySettings(SettingsGroup):
    """Access to the gateway, and limits of requests."""

    api_keys: list[ApiKey] = Field(description="empty: no key is required")
    hosts: list[Annotated[str, Field(pattern=r"^[^\s:/\[\]@]+$")]] = Field(
        description="names, without a port, that a Host header may have while there are no API keys"
    )
    cors_origins: list[str] = Field(description="origins whose pages may use the gateway; empty turns CORS off")
    max_header_bytes: PositiveInt = Field(description="request line and headers together")
    head_timeout_s: Seconds = Field(description="longest time for the head of a request to arrive")

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        check_differ("names of keys", (key.name for key in self.api_keys))
        return self


class TracingSettings(SettingsGroup):
    """OpenTelemetry traces of gateway and workers; needs requirements-otel.txt where each of them runs."""

    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        description="an OTLP/HTTP collector's traces URL, e.g. http://127.0.0.1:4318/v1/traces; null turns it off"
    )
    sample: Annotated[float, Field(ge=0, le=1)] = Field(
        description="share of the requests that are traced; one that brings a traceparent follows the flag in it"
    )

    @field_validator("endpoint", mode="before")
    @classmethod
    def _empty_is_off(cls, value: object) -> object:
        # A container's environment holds "" where nothing was chosen.
        return None if value == "" else value


class ConsoleSettings(SettingsGroup):
    """Links of the console page: addresses as browsers reach them."""

    files: Link | None = Field(description="the file browser; null: the store's own, if any; '': no link")
    grafana: Link | None = Field(description="Grafana; null or '': no link")


class DialectSettings(SettingsGroup):
    """The routes of other servers, for their clients."""

    torchserve: bool
    kserve_v1: bool
    sagemaker: bool
    vertex_health: RoutePath | None = Field(description="Vertex AI's route for health; null for none")
    vertex_predict: RoutePath | None = Field(description="Vertex AI's route for predictions; null for none")
    model: Name | None = Field(
        description="answers SageMaker's and Vertex AI's requests that name no model; null: the only one that is served"
    )

    @field_validator("vertex_health", "vertex_predict", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value


class GatewaySettings(SettingsGroup):
    """The gateway that clients send their requests to."""

    host: str
    port: Port
    instances: list[Instance] = Field(
        description="every gateway in front of these engines, HOST or HOST:PORT; a name stands for all its addresses; "
        "empty: the one of host and port"
    )
    api_key: SecretStr | None = Field(description="API key that Marina's own programs send")
    api_key_file: str | None = Field(description="file that holds this key")
    grpc_port: Port | None = Field(description="of the Open Inference Protocol; null for none")
    socket: str | None = Field(description="Unix socket for a proxy on this machine; gRPC is at its name with `.grpc`")
    processes: PositiveInt
    insecure: bool
    access_log: bool = Field(description="a log line for each request")
    max_body_bytes: PositiveInt
    max_receiving_mb: PositiveInt = Field(description="MiB of request bodies held at once, until they are answered")
    deadline_ms: PositiveInt = Field(description="deadline of a request without X-Deadline-Ms")
    max_deadline_ms: PositiveInt = Field(description="largest effective X-Deadline-Ms")
    upstream_connections: PositiveInt
    upstream_keepalive_s: Seconds
    connect_timeout_s: Seconds
    catalog_ttl_s: Seconds = Field(description="largest age of the list of the engine's models")
    graceful_stop_s: PositiveInt = Field(description="longest wait of a stop for requests in flight")
    repository_control: bool = Field(description="clients may load and unload models, which rolls archives out")
    shared_memory: bool = Field(description="clients on this machine may pass tensors in system shared memory")
    stop_notice_ms: Annotated[int, Field(ge=0)] = Field(
        description="time before a stop in which new requests are still answered, while /readyz says 503"
    )
    admission: AdmissionSettings
    coalesce: CoalesceSettings
    cache: CacheSettings
    breaker: BreakerSettings
    security: SecuritySettings
    tracing: TracingSettings
    console: ConsoleSettings
    dialects: DialectSettings
    default_vision_model: Name | None
    default_policy: Name | None
    aliases: list[Alias]

    @field_validator("api_key", "api_key_file", "socket", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.api_key is not None and self.api_key_file is not None:
            raise ValueError("set api_key (MARINA_API_KEY) or api_key_file (MARINA_API_KEY_FILE), not both")
        return self

    def key_headers(self) -> dict[str, str]:
        """Return the API key as a header, if one is set. Raises ConfigError when it cannot be read or sent."""
        key = None if self.api_key is None else self.api_key.get_secret_value()
        if self.api_key_file is not None:
            try:
                key = Path(self.api_key_file).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not text"
                raise ConfigError(f"gateway.api_key_file={self.api_key_file} cannot be read: {reason}") from None
        if key is None:
            return {}
        if not (key.isascii() and key.isprintable()) or not key or " " in key:
            where = "gateway.api_key" if self.api_key_file is None else f"gateway.api_key_file={self.api_key_file}"
            raise ConfigError(f"{where} is not an API key: it must be one word of plain characters")
        return {"X-Api-Key": key}

    @model_validator(mode="after")
    def _bodies_fit(self) -> Self:
        if self.max_receiving_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_receiving_mb={self.max_receiving_mb} leaves each of {self.processes} processes less than one "
                f"body of max_body_bytes={self.max_body_bytes}; raise the first or lower the second"
            )
        return self

    @property
    def max_receiving_bytes(self) -> int:
        """Bytes of request bodies that one process may hold."""
        return (self.max_receiving_mb << 20) // self.processes

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{self.host}:{self.port}"


class EdgeSettings(SettingsGroup):
    """The policy edge: a policy compiled into nginx."""

    host: str
    port: Port
    workers: Annotated[int, Field(ge=1, le=64)]
    compiler: str = Field(description="auto for cc, or the name of a program")
    max_body_bytes: PositiveInt
    timeout_s: PositiveInt = Field(description="longest pause of a client while it sends or receives")
    access_log: bool = Field(description="a log line for each request")
    parity_states: PositiveInt = Field(
        description="random states on which edge and handler are compared before serving"
    )

    @field_validator("compiler")
    @classmethod
    def _no_lua(cls, value: str) -> str:
        if value == "none":
            install = "install a compiler with: apt-get install gcc libc6-dev nginx-dev"
            raise ValueError(f"must be auto or a program, because the edge in Lua is gone ({install})")
        return value

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{self.host}:{self.port}"
