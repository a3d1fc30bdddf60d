"""The measured costs, in the file that `measure` writes and `plan` reads."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from errors import ConfigError
from files import write_atomic

FILE = Path("docs/figures/capacity.json")


@dataclass(frozen=True)
class Cost:
    """One kind of request: seconds of a processor by part, bytes, memory and latency.

    Attributes:
        request_bytes, answer_bytes: between client and gateway, headers included.
        inside_bytes: between gateway and engine, both ways.
        worker_mb: memory of one worker process, with its part of shared pages (PSS).
        calm_ms: median latency at half of the rate of one engine.
        rate: requests a second of one engine and one gateway with the whole machine, for comparison.

    """

    title: str
    model: str
    request_bytes: float
    answer_bytes: float
    inside_bytes: float
    gateway_s: float
    frontend_s: float
    worker_s: float
    client_s: float
    worker_mb: float
    calm_ms: float
    rate: float

    @property
    def engine_s(self) -> float:
        """Processor seconds of a whole engine: TorchServe's frontend and the worker."""
        return self.frontend_s + self.worker_s


@dataclass(frozen=True)
class Line:
    """A quantity that grows with the number of engines: `base` + `each` x engines."""

    base: float
    each: float

    def at(self, engines: float) -> float:
        """Return the value for a number of engines."""
        return self.base + self.each * engines


@dataclass(frozen=True)
class Prediction:
    """A predicted rate beside the measured one of each round, in requests a second; `bound` is the part that bounds it.

    `cores_used` is what each engine used of its `cores_each`.
    """

    workload: str
    engines: int
    cores_each: float
    bound: str
    predicted: float
    measured: tuple[float, ...]
    cores_used: float


@dataclass(frozen=True)
class Costs:
    """All figures of one run.

    Attributes:
        heading: date, machine, versions and command, in Markdown.
        quota: a sentence about the share of the processors that each engine was held to.
        looking: a gateway's processor seconds a second for watching the engines.
        rollout: seconds of an upload.
        engine_rest: cores that an engine uses without requests: checks, timers.
        gateway_series, engine_series: of Prometheus, of one gateway process and of one engine.

    """

    heading: str
    quota: str
    cores: int
    workloads: Mapping[str, Cost]
    checks: tuple[Prediction, ...]
    looking: Line
    rollout: Line
    gateway_series: Line
    engine_series: float
    engine_rest: float
    gateway_mb: float
    frontend_mb: float
    archive_mb: float
    edge_s: float

    def cost(self, name: str) -> Cost:
        """Return the cost of one workload. Raises ConfigError when it was not measured."""
        if name not in self.workloads:
            raise ConfigError(f"no measured workload {name!r}; there are {', '.join(self.workloads)}")
        return self.workloads[name]


def write(path: Path, costs: Costs) -> None:
    """Replace the file atomically."""
    write_atomic(path, json.dumps(_rounded(asdict(costs)), indent=1) + "\n")


def read(path: Path) -> Costs:
    """Read the file. Raises ConfigError when it is missing or damaged."""
    try:
        found: dict[str, Any] = json.loads(path.read_text())
        return Costs(
            **found
            | {"workloads": {name: Cost(**each) for name, each in found["workloads"].items()}}
            | {"checks": tuple(_prediction(each) for each in found["checks"])}
            | {name: Line(**found[name]) for name in ("looking", "rollout", "gateway_series")}
        )
    except FileNotFoundError:
        raise ConfigError(f"no {path}; `make bench_capacity` measures it") from None
    except (ValueError, TypeError, KeyError, AttributeError):
        raise ConfigError(f"{path} is not what this version of `make bench_capacity` writes") from None


def _prediction(found: Mapping[str, Any]) -> Prediction:
    return Prediction(**{**found, "measured": tuple(found["measured"])})


def _rounded(value: Any) -> Any:
    """Round to six digits, which are more than the measurement has."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list | tuple) else value
