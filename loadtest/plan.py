"""The plan of a run: targets, inputs and load, checked before the first request."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from errors import ConfigError, LoadError
from loadtest.inputs import RequestSample, from_path, generate_images, generate_states
from loadtest.loops import RoundLength
from loadtest.target import LoadTarget
from settings.schema import StressSettings

GENERATED = 32  # different inputs: enough that no cache answers for the model, few enough to generate at once
MIX_REQUESTS = 1000  # requests of a mix whose order is drawn; then the order repeats


@dataclass(frozen=True)
class LoadPlan:
    """The load of the settings, its targets and its samples; `source` describes the samples."""

    stress: StressSettings
    targets: tuple[LoadTarget, ...]
    samples: tuple[RequestSample, ...]
    source: str

    @property
    def target(self) -> LoadTarget:
        """The first model under load."""
        return self.targets[0]

    @property
    def unit(self) -> str:
        """The unit of the throughput: images, states, or `answers` for a mix of both."""
        units = {target.unit for target in self.targets}
        return units.pop() if len(units) == 1 else "answers"

    @property
    def length(self) -> RoundLength:
        """The length of a round."""
        stress = self.stress
        return RoundLength(requests=stress.requests) if stress.seconds is None else RoundLength(seconds=stress.seconds)

    @property
    def name(self) -> str:
        """The models under load, for titles and file names."""
        return "+".join(target.model for target in self.targets)


def make_plan(stress: StressSettings, targets: Sequence[LoadTarget]) -> LoadPlan:
    """Prepare the inputs. Raises ConfigError or LoadError in one line when there are none for these models."""
    if stress.environment is not None:
        samples, source = _environment_inputs(stress, targets[0])
    elif len(targets) == 1:
        samples, source = _inputs(stress, targets[0])
    else:
        samples, source = _mixed_inputs(stress, targets)
    return LoadPlan(stress, tuple(targets), samples, source)


def _environment_inputs(stress: StressSettings, target: LoadTarget) -> tuple[tuple[RequestSample, ...], str]:
    if target.kind != "policy":
        raise ConfigError(f"stress.environment: {target.model} takes pictures, only policies play")
    return (), f"{stress.clients} x {stress.environment}, played live"


def _mixed_inputs(stress: StressSettings, targets: Sequence[LoadTarget]) -> tuple[tuple[RequestSample, ...], str]:
    """Return samples of all models in a drawn order, each model with its share."""
    if stress.inputs is not None:
        raise ConfigError("stress.inputs works with one model only; a mix uses generated inputs")
    draw = random.Random(stress.seed)  # noqa: S311 - as below
    each = [tuple(replace(one, model=target.model) for one in _inputs(stress, target)[0]) for target in targets]
    # In turn within each model: the gateway answers identical requests in flight together.
    turns = [itertools.cycle(samples) for samples in each]
    order = draw.choices(turns, [stress.mix[target.model] for target in targets], k=MIX_REQUESTS)
    whole = sum(stress.mix.values())
    shares = ", ".join(f"{share / whole:.0%} {model}" for model, share in stress.mix.items())
    return tuple(next(samples) for samples in order), f"made inputs, {shares}"


def _inputs(stress: StressSettings, target: LoadTarget) -> tuple[tuple[RequestSample, ...], str]:
    if stress.inputs is not None:
        path = Path(stress.inputs).expanduser()
        samples = from_path(path, most=stress.requests)
        if target.kind == "policy" and samples[0].content_type != "application/json":
            raise ConfigError(f"stress.inputs: {path} holds pictures, but {target.model} takes states")
        return samples, f"{len(samples)} inputs from {path}"
    count = min(GENERATED, stress.requests)
    draw = random.Random(stress.seed)  # noqa: S311 - inputs for a load, nothing secret
    if target.kind == "vision":
        height, width = stress.picture_size
        return generate_images(count, height, width, draw), f"{count} made pictures of {width}x{height}"
    if target.observation is None:
        raise LoadError(f"{target.model} declares no observation space; give a JSON file of states as stress.inputs")
    return generate_states(target.observation, count, draw), f"{count} made states"
