"""What becomes of each key of TorchServe's config.properties when its models are adopted: one row a key.

    taken     the value goes into a setting of this project
    set       this project has its own value
    unused    the key has no effect here, with the reason
    refused   with this value handlers would get other requests, so nothing is adopted

`make adopt TORCHSERVE=` prints a line for each key of a deployment, and docs/coming-from-torchserve.md holds the table.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

SHOWN_VALUE = 200  # characters; a snapshot holds all models in one value
Outcome = Literal["taken", "set", "unused", "refused"]


@dataclass(frozen=True)
class PropertyUse:
    """The use of one key. `settings` take the value, a number; `accepted` are the values that are not refused."""

    outcome: Outcome
    words: str
    settings: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()

    def outcome_of(self, value: str) -> Outcome:
        """Return the outcome of one value."""
        return "unused" if self.outcome == "refused" and value.lower() in self.accepted else self.outcome


def _taken(words: str, *settings: str) -> PropertyUse:
    return PropertyUse("taken", words, settings)


def _set(words: str) -> PropertyUse:
    return PropertyUse("set", words)


def _unused(words: str) -> PropertyUse:
    return PropertyUse("unused", words)


def _refused(words: str, *accepted: str) -> PropertyUse:
    return PropertyUse("refused", words, accepted=("", *accepted))


PORTS = "`engine.host` and the ports of `engine`; clients use `gateway.port`"
TLS = "a proxy in front of the gateway has the certificate: docs/tls.md"
GRPC = "clients call the gateway's gRPC port, `gateway.grpc_port`"
NETTY = "clients connect to the gateway, which keeps few connections to TorchServe"
SEQUENCES = "sequence batching is not offered; archives that ask for it are refused"
INTEL = "the launcher and the extension of Intel are not used; `request_params.threads` sets a worker's threads"
CORS = "`gateway.security.cors_origins` lists the sites whose pages may call the gateway"
METRICS = "`docker/metrics.yaml` lists the metrics, for Prometheus"
BODY_LIMITS = ("engine.max_request_bytes", "gateway.max_body_bytes")
NOT_FOR_PYTHON = "archives in C++ are refused"

USES: Mapping[str, PropertyUse] = {
    "allowed_urls": _set("TorchServe fetches from the store of `store` alone"),
    "async_logging": _unused("`docker/log4j2.xml` writes no line for each request"),
    "blacklist_env_vars": _unused("workers see the environment of `make up`; start it without such variables"),
    "certificate_file": _unused(TLS),
    "cors_allowed_headers": _unused(CORS),
    "cors_allowed_methods": _unused(CORS),
    "cors_allowed_origin": _unused(CORS),
    "cpp_log_config": _unused(NOT_FOR_PYTHON),
    "cpu_launcher_args": _unused(INTEL),
    "cpu_launcher_enable": _unused(INTEL),
    "debug": _unused("`request_params.initial_workers` is 1 for a single worker"),
    "decode_input_request": _refused("handlers get JSON and text decoded, as with `true`", "true"),
    "default_response_timeout": _taken("`engine.response_timeout_s`", "engine.response_timeout_s"),
    "default_service_handler": _refused("each archive must name its handler"),
    "default_startup_timeout": _taken("each archive's `startupTimeout`, by the Management API"),
    "default_workers_per_model": _taken("each model's `request_params.initial_workers`, by the Management API"),
    "disable_system_metrics": _set("`true`; Prometheus gets the machine's figures from elsewhere"),
    "disable_token_authorization": _set("`false` towards TorchServe; clients of the gateway need keys if you add some"),
    "enable_envvars_config": _set("`true`; the settings of `engine` become `TS_*` variables"),
    "enable_grpc_ssl": _unused(TLS),
    "enable_metrics_api": _set("`true`"),
    "enable_model_api": _set("`true`, for deliveries"),
    "grpc_inference_address": _set(PORTS),
    "grpc_inference_max_connection_age_grace_ms": _unused(GRPC),
    "grpc_inference_max_connection_age_ms": _unused(GRPC),
    "grpc_inference_port": _set(PORTS),
    "grpc_management_address": _set(PORTS),
    "grpc_management_max_connection_age_grace_ms": _unused(GRPC),
    "grpc_management_max_connection_age_ms": _unused(GRPC),
    "grpc_management_port": _set(PORTS),
    "inference_address": _set(PORTS),
    "initial_distribution_port": _unused("a worker is one process"),
    "initial_worker_port": _unused("workers listen on Unix sockets"),
    "install_py_dep_per_model": _set("`false`; `engine.requirements` says what becomes of a requirements.txt"),
    "io_ratio": _unused(NETTY),
    "ipex_enable": _unused(INTEL),
    "ipex_gpu_enable": _unused(INTEL),
    "job_queue_size": _taken("`engine.job_queue_size`", "engine.job_queue_size"),
    "keystore": _unused(TLS),
    "keystore_pass": _unused(TLS),
    "keystore_type": _unused(TLS),
    "limit_max_image_pixels": _set("`true`"),
    "load_models": _taken("each model is adopted; TorchServe starts empty, and gets the models that are recorded"),
    "management_address": _set(PORTS),
    "max_request_size": _taken("`engine.max_request_bytes`, `gateway.max_body_bytes`", *BODY_LIMITS),
    "max_response_size": _set("as `engine.max_request_bytes`"),
    "metric_time_interval": _set("30"),
    "metrics_address": _set(PORTS),
    "metrics_config": _set(METRICS),
    "metrics_format": _set("`prometheus`"),
    "metrics_mode": _set("`prometheus`"),
    "model_metrics_auto_detect": _unused(METRICS),
    "model_server_home": _unused("TorchServe runs from its package"),
    "model_snapshot": _unused("`serving.json` in the state folder records what serves"),
    "model_store": _taken("archives are read from it; their copies lie in `paths.archives`"),
    "models": _taken("each model's `request_params`, by the Management API"),
    "netty_client_threads": _unused(NETTY),
    "number_of_gpu": _unused("TorchServe uses every GPU that it sees; `CUDA_VISIBLE_DEVICES` of `make up` limits them"),
    "number_of_netty_threads": _unused(NETTY),
    "plugins_path": _unused("no plugins are loaded"),
    "prefer_direct_buffer": _unused(NETTY),
    "private_key_file": _unused(TLS),
    "python": _set("the Python of `.venv`"),
    "service_envelope": _refused("handlers get each request as it came"),
    "snapshot_store": _unused("`serving.json` in the state folder records what serves"),
    "system_metrics_cmd": _set("a program of this project, where system metrics are on"),
    "token_expiration_min": _taken("`engine.token_expiration_min`", "engine.token_expiration_min"),
    "ts_header_key_sequence_end": _unused(SEQUENCES),
    "ts_header_key_sequence_id": _unused(SEQUENCES),
    "ts_header_key_sequence_start": _unused(SEQUENCES),
    "ts_open_inference_protocol": _unused("the gateway speaks it on both ports: docs/open-inference-protocol.md"),
    "unregister_model_timeout": _unused("versions are drained before they are removed: `rollout.drain_timeout_s`"),
    "use_env_allowed_urls": _set("`true`"),
    "use_native_io": _unused(NETTY),
    "version": _unused("TorchServe writes it into its snapshots"),
    "vmargs": _set("`docker/config.properties` has those for a frontend that mostly forwards bytes"),
    "workflow_store": _unused("workflows are not adopted; adopt their models, and chain them in business.py"),
}
UNKNOWN = _unused("TorchServe 0.12 does not know this key")
SECRETS = frozenset({"keystore_pass"})
PASSWORD = re.compile(r"(password[^\s=]*=)\S+", re.IGNORECASE)  # of a word such as -Djavax.net.ssl.keyStorePassword=...


@dataclass(frozen=True)
class PropertyNote:
    """The outcome of one key of a deployment."""

    key: str
    value: str
    outcome: Outcome
    words: str

    def __str__(self) -> str:
        """Return `KEY=VALUE  taken: engine.job_queue_size`; a password stays hidden, and a long value is cut."""
        value = "***" if self.key in SECRETS else PASSWORD.sub(r"\1***", " ".join(self.value.split()))
        value = value if len(value) <= SHOWN_VALUE else f"{value[:SHOWN_VALUE]}..."
        return f"{self.key}={value}  {self.outcome}: {self.words.replace('`', '')}"


def notes(properties: Mapping[str, str]) -> tuple[PropertyNote, ...]:
    """Return what becomes of each key, in the order of the keys."""
    return tuple(
        PropertyNote(key, value, use.outcome_of(value), use.words)
        for key, value in sorted(properties.items())
        for use in (USES.get(key, UNKNOWN),)
    )


def taken_settings(properties: Mapping[str, str]) -> dict[str, int]:
    """Return the settings that take a value of these properties; a value that is no positive number is left out."""
    return dict(_settings(properties))


def _settings(properties: Mapping[str, str]) -> Iterator[tuple[str, int]]:
    for key, value in properties.items():
        if value.isdecimal() and int(value) > 0:
            yield from ((name, int(value)) for name in USES.get(key, UNKNOWN).settings)


def markdown_table() -> str:
    """Return the table of docs/coming-from-torchserve.md."""
    rows = (f"| `{key}` | {use.outcome} | {use.words} |" for key, use in sorted(USES.items()))
    return "\n".join(("| key | here | how |", "| --- | --- | --- |", *rows))
