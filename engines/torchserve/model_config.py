"""The use of each key in the model-config.yaml of an archive that another tool built.

    registration   request_params of config/served_model/NAME.yaml       batchSize, minWorkers, ...
    frontend       MAR-INF/model-config.yaml, which TorchServe reads     startupTimeout, deviceIds, ...
    handler        the archive's own file, which its handler reads       every key that TorchServe does not know

TorchServe prefers an archive's values to those of a registration, and starts workers by `minWorkers` before the copy of
the archive has been compared. So its frontend gets a file without those keys.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engines.engine_profile import ModelVersion
from errors import ArchiveError

REGISTRATION = {
    "minWorkers": "initial_workers",
    "batchSize": "batch_size",
    "maxBatchDelay": "max_batch_delay",
    "responseTimeout": "response_timeout",
}
FRONTEND = (
    "clientTimeoutInMills",
    "deviceIds",
    "deviceType",
    "jobQueueSize",
    "maxRetryTimeoutInMin",
    "maxRetryTimeoutInSec",
    "startupTimeout",
)
OFF: Mapping[str, tuple[Any, ...]] = {
    "asyncCommunication": (False,),
    "continuousBatching": (False,),
    "maxNumSequence": (1,),
    "maxSequenceJobQueueSize": (1,),
    "maxsequenceJobQueueSize": (1,),
    "parallelLevel": (1,),
    "parallelMode": ("none", ""),
    "parallelType": ("none", ""),
    "sequenceBatching": (False,),
    "sequenceMaxIdleMSec": (0,),
    "sequenceTimeoutMSec": (0,),
    "useJobTicket": (False,),
    "useVenv": (False,),
}
"""Features of TorchServe that neither engine offers here, each with the values that turn it off."""
MAX_WORKERS, TORCHRUN, THREADS, PROCESSES = "maxWorkers", "torchrun", "OMP_NUMBER_THREADS", "nproc-per-node"
BATCH_DELAY_MS = 100  # TorchServe's own default, where an archive names a batch size alone
TIMEOUT_S = 120  # TorchServe's default of both timeouts, in seconds


@dataclass(frozen=True)
class AdoptedConfig:
    """The registration settings and the frontend's file that an archive asks for; `notes` name the use of each key."""

    registration: Mapping[str, int]
    frontend: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def file(self) -> dict[str, Any]:
        """The content of the frontend's file; empty for none, and TorchServe takes the timeout of the registration.

        A file's timeouts override that, with 120 s for one that it leaves out or has as 0.
        """
        if not self.frontend:
            return {}
        response_timeout = self.registration.get("response_timeout", TIMEOUT_S)
        return {"responseTimeout": response_timeout, "startupTimeout": TIMEOUT_S, **self.frontend}

    def as_served(self, version: ModelVersion) -> "AdoptedConfig":
        """Return the settings with which a running TorchServe serves the archive; threads stay the archive's."""
        timeout = {} if version.response_timeout is None else {"response_timeout": version.response_timeout}
        served = {
            "batch_size": version.batch_size,
            "max_batch_delay": version.max_batch_delay,
            "initial_workers": max(1, version.min_workers),
            **timeout,
        }
        startup = {} if version.startup_timeout in (None, TIMEOUT_S) else {"startupTimeout": version.startup_timeout}
        notes = [f"request_params.{key}: {value}, as it is served" for key, value in served.items()]
        if version.max_workers > served["initial_workers"]:
            notes.append(f"at most {version.max_workers} workers: not used; see scaling.models")
        return AdoptedConfig({**self.registration, **served}, {**self.frontend, **startup}, tuple(notes))


def adopt_config(config: Mapping[str, Any]) -> AdoptedConfig:
    """Sort the keys of a model-config.yaml. Raises ArchiveError that names a key which cannot be honoured."""
    registration = {"batch_size": 1, "max_batch_delay": 0, "initial_workers": 1}
    notes = []
    for key, name in REGISTRATION.items():
        if key in config:
            registration[name] = _number(key, config[key], least=0 if name == "max_batch_delay" else 1)
            notes.append(f"{key}: request_params.{name}")
    if "maxBatchDelay" not in config and registration["batch_size"] > 1:
        registration["max_batch_delay"] = BATCH_DELAY_MS
    if MAX_WORKERS in config:
        notes.append(f"{MAX_WORKERS}: not used; scaling.models lets the number of workers follow the load")
    notes += _torchrun(config, registration)
    for key, off in OFF.items():
        if key in config and config[key] not in off:
            raise ArchiveError(f"model-config.yaml asks for {key}: {config[key]!r}, which is not offered here")
    kept = {key: config[key] for key in FRONTEND if key in config}
    notes += [f"{key}: kept for TorchServe's frontend" for key in kept]
    known = {*REGISTRATION, *FRONTEND, *OFF, MAX_WORKERS, TORCHRUN}
    notes += [f"{key}: read by the handler" for key in config if key not in known]
    return AdoptedConfig(registration, kept, tuple(notes))


def _torchrun(config: Mapping[str, Any], registration: dict[str, int]) -> list[str]:
    """Take the threads of `torchrun`; several processes of one worker are refused."""
    section = config.get(TORCHRUN)
    if section is None:
        return []
    if not isinstance(section, dict):
        raise ArchiveError(f"model-config.yaml has {TORCHRUN}: {section!r}, which is not a mapping")
    if section.get(PROCESSES, 1) != 1 or set(section) - {THREADS, PROCESSES}:
        raise ArchiveError(
            f"model-config.yaml asks for {TORCHRUN}, which spreads a worker over several processes; that is not offered"
        )
    if THREADS not in section:
        return []
    registration["threads"] = _number(f"{TORCHRUN}.{THREADS}", section[THREADS], least=1)
    return [f"{TORCHRUN}.{THREADS}: request_params.threads"]


def _number(key: str, value: Any, least: int) -> int:
    if type(value) is not int or value < least:
        raise ArchiveError(f"model-config.yaml has {key}: {value!r}, which must be a whole number from {least} on")
    return value
