"""The plan of a run: targets, inputs and load, checked before the first request."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from errors import ConfigError, LoadError
from loadtest.inputs import RequestSample, from_path, generate_images, generate_instances, generate_states
from loadtest.loops import RoundLength
from loadtest.recorded_requests import folder_requests, recorded_requests
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


def make_plan(stress: StressSettings, targets: Sequence[LoadTarget], archives: Path | None = None) -> LoadPlan:
    """Prepare the inputs; `archives` is the folder of built and adopted archives, where it is on this machine.

    Raises ConfigError or LoadError in one line when there are none for these models.
    """
    if stress.environment is not None:
        samples, source = _environment_inputs(stress, targets[0])
    elif len(targets) == 1:
        samples, source = _inputs(stress, targets[0], archives)
    else:
        samples, source = _mixed_inputs(stress, targets, archives)
    return LoadPlan(stress, tuple(targets), samples, source)


def _environment_inputs(stress: StressSettings, target: LoadTarget) -> tuple[tuple[RequestSample, ...], str]:
    if target.kind != "policy":
        raise ConfigError(f"stress.environment: {target.model} takes {target.unit}, only policies play")
    return (), f"{stress.clients} x {stress.environment}, played live"


def _mixed_inputs(
    stress: StressSettings, targets: Sequence[LoadTarget], archives: Path | None
) -> tuple[tuple[RequestSample, ...], str]:
    """Return samples of all models in a drawn order, each model with its share."""
    if stress.inputs is not None:
        raise ConfigError("stress.inputs works with one model only; a mix uses generated inputs")
    draw = random.Random(stress.seed)  # noqa: S311 - as below
    found = [(target.model, _inputs(stress, target, archives)[0]) for target in targets]
    each = [tuple(replace(one, model=model) for one in samples) for model, samples in found]
    # In turn within each model: the gateway answers identical requests in flight together.
    turns = [itertools.cycle(samples) for samples in each]
    order = draw.choices(turns, [stress.mix[target.model] for target in targets], k=MIX_REQUESTS)
    whole = sum(stress.mix.values())
    shares = ", ".join(f"{share / whole:.0%} {model}" for model, share in stress.mix.items())
    return tuple(next(samples) for samples in order), f"made inputs, {shares}"


def _inputs(stress: StressSettings, target: LoadTarget, archives: Path | None) -> tuple[tuple[RequestSample, ...], str]:
    if target.kind == "adopted":
        return _whole_requests(stress, target.model, archives)
    if stress.inputs is not None:
        path = Path(stress.inputs).expanduser()
        samples = from_path(path, most=stress.requests)
        if target.kind != "vision" and samples[0].content_type != "application/json":
            raise ConfigError(f"stress.inputs: {path} holds pictures, but {target.model} takes {target.unit}")
        return samples, f"{len(samples)} inputs from {path}"
    draw = random.Random(stress.seed)  # noqa: S311 - inputs for a load, nothing secret
    return _GENERATORS[target.kind](stress, target, min(GENERATED, stress.requests), draw)


def _made_pictures(
    stress: StressSettings, target: LoadTarget, count: int, draw: random.Random
) -> tuple[tuple[RequestSample, ...], str]:
    del target
    height, width = stress.picture_size
    return generate_images(count, height, width, draw), f"{count} made pictures of {width}x{height}"


def _made_states(
    stress: StressSettings, target: LoadTarget, count: int, draw: random.Random
) -> tuple[tuple[RequestSample, ...], str]:
    del stress
    if target.observation is None:
        raise LoadError(f"{target.model} declares no observation space; give a JSON file of states as stress.inputs")
    return generate_states(target.observation, count, draw), f"{count} made states"


def _made_instances(
    stress: StressSettings, target: LoadTarget, count: int, draw: random.Random
) -> tuple[tuple[RequestSample, ...], str]:
    del stress
    if target.signature is None:
        raise LoadError(f"{target.model} declares no signature; give a JSON file of instances as stress.inputs")
    return generate_instances(target.signature, count, draw), f"{count} made instances"


_GENERATORS = {"vision": _made_pictures, "policy": _made_states, "tensors": _made_instances}


def _whole_requests(stress: StressSettings, model: str, archives: Path | None) -> tuple[tuple[RequestSample, ...], str]:
    """Return the requests to an adopted archive."""
    if stress.inputs is None:
        samples = recorded_requests(archives, model, most=stress.requests)
        return samples, f"the {len(samples)} samples that it was adopted with"
    path = Path(stress.inputs).expanduser()
    samples = folder_requests(path, most=stress.requests)
    return samples, f"{len(samples)} inputs from {path}"
