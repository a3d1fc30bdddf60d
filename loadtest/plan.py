"""What a run is going to do, known and checked before the first request."""

import random
from dataclasses import dataclass
from pathlib import Path

from errors import ConfigError, LoadError
from loadtest.inputs import from_path
from loadtest.made_pictures import make_pictures
from loadtest.made_states import make_states
from loadtest.sample import Sample
from loadtest.target import Target
from settings.schema import Stress

# Different inputs that are made: enough that no cache on the way answers for the model, few enough to make at once.
MADE = 32


@dataclass(frozen=True)
class Plan:
    """A load and what it goes to."""

    target: Target
    samples: tuple[Sample, ...]
    source: str
    clients: int
    requests: int
    rounds: int
    warmup: int


def make_plan(stress: Stress, target: Target) -> Plan:
    """Get the inputs ready. Raises ConfigError or LoadError in one line when there are none for this model."""
    samples, source = _samples(stress, target)
    return Plan(target, samples, source, stress.clients, stress.requests, stress.rounds, stress.warmup)


def _samples(stress: Stress, target: Target) -> tuple[tuple[Sample, ...], str]:
    if stress.inputs is not None:
        path = Path(stress.inputs).expanduser()
        samples = from_path(path, most=stress.requests)
        if target.kind == "policy" and samples[0].content_type != "application/json":
            raise ConfigError(f"stress.inputs: {path} holds pictures, but {target.model} takes states")
        return samples, f"{len(samples)} inputs from {path}"
    count = min(MADE, stress.requests)
    draw = random.Random(stress.seed)  # noqa: S311 - inputs for a load, nothing secret
    if target.kind == "vision":
        height, width = stress.picture_size
        return make_pictures(count, height, width, draw), f"{count} made pictures of {width}x{height}"
    if target.observation is None:
        raise LoadError(f"{target.model} tells no observation space; give a JSON file of states as stress.inputs")
    return make_states(target.observation, count, draw), f"{count} made states"
