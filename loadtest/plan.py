"""What a run is going to do, known and checked before the first request."""

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from errors import ConfigError, LoadError
from loadtest.extent import Extent
from loadtest.inputs import from_path
from loadtest.made_pictures import make_pictures
from loadtest.made_states import make_states
from loadtest.open_loop import Arrivals
from loadtest.sample import Sample
from loadtest.target import Target
from settings.schema import StressSettings

# Different inputs that are made: enough that no cache on the way answers for the model, few enough to make at once.
MADE = 32
DRAWN = 1000  # requests of a mix that are drawn beforehand; then they come again


@dataclass(frozen=True)
class Plan:
    """A load and what it goes to. `target` is the first of `targets`; `rate` is None for a closed loop."""

    target: Target
    samples: tuple[Sample, ...]
    source: str
    clients: int
    requests: int
    rounds: int
    warmup: int
    rate: float | None = None
    arrivals: Arrivals = "poisson"
    seconds: float | None = None
    seed: int = 0
    environment: str | None = None
    others: tuple[Target, ...] = ()
    shares: tuple[tuple[str, float], ...] = ()

    @property
    def targets(self) -> tuple[Target, ...]:
        """Every model under load."""
        return (self.target, *self.others)

    @property
    def unit(self) -> str:
        """What is counted: pictures, states, or answers of both kinds."""
        units = {target.unit for target in self.targets}
        return units.pop() if len(units) == 1 else "answers"

    @property
    def extent(self) -> Extent:
        """How long a round is."""
        return Extent(requests=self.requests) if self.seconds is None else Extent(seconds=self.seconds)

    @property
    def name(self) -> str:
        """The models under load, for titles and file names."""
        return "+".join(target.model for target in self.targets)


def make_plan(stress: StressSettings, targets: Sequence[Target]) -> Plan:
    """Get the inputs ready. Raises ConfigError or LoadError in one line when there are none for these models."""
    if stress.environment is not None:
        samples, source = _played(stress, targets[0])
    elif len(targets) == 1:
        samples, source = _samples(stress, targets[0])
    else:
        samples, source = _mixed(stress, targets)
    return Plan(
        target=targets[0],
        samples=samples,
        source=source,
        clients=stress.clients,
        requests=stress.requests,
        rounds=stress.rounds,
        warmup=stress.warmup,
        rate=stress.rate,
        arrivals=stress.arrivals,
        seconds=stress.seconds,
        seed=stress.seed,
        environment=stress.environment,
        others=tuple(targets[1:]),
        shares=tuple(stress.mix.items()),
    )


def _played(stress: StressSettings, target: Target) -> tuple[tuple[Sample, ...], str]:
    if target.kind != "policy":
        raise ConfigError(f"stress.environment: {target.model} takes pictures, only policies play")
    return (), f"{stress.clients} x {stress.environment}, played live"


def _mixed(stress: StressSettings, targets: Sequence[Target]) -> tuple[tuple[Sample, ...], str]:
    """Samples of all models in a drawn order, each model with its share."""
    if stress.inputs is not None:
        raise ConfigError("stress.inputs fits one model only; a mix takes made inputs")
    draw = random.Random(stress.seed)  # noqa: S311 - as below
    each = [tuple(replace(one, model=target.model) for one in _samples(stress, target)[0]) for target in targets]
    # In turn within each model: the gateway answers identical requests in flight together.
    turns = [itertools.cycle(samples) for samples in each]
    order = draw.choices(turns, [stress.mix[target.model] for target in targets], k=DRAWN)
    whole = sum(stress.mix.values())
    shares = ", ".join(f"{share / whole:.0%} {model}" for model, share in stress.mix.items())
    return tuple(next(samples) for samples in order), f"made inputs, {shares}"


def _samples(stress: StressSettings, target: Target) -> tuple[tuple[Sample, ...], str]:
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
