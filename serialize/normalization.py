"""The figures that normalise observations as VecNormalize does."""

from typing import Any

import numpy as np

from errors import BuildError
from serialize.observation_arrays import read_figures
from settings.schema.served_model import NormalizationSettings

PARTS = dict[str, NormalizationSettings]
WHERE = "served_model.observation.normalization"
SAVE = (
    "a pickled VecNormalize is not read, because that runs code from it: save its numbers with "
    "numpy.savez(FILE, mean=env.obs_rms.mean, var=env.obs_rms.var, epsilon=env.epsilon, clip=env.clip_obs)"
)


def read_normalization(given: str | NormalizationSettings | PARTS | None) -> NormalizationSettings | PARTS | None:
    """Return the figures, whatever form they are given in. Raises BuildError."""
    return read_figures(given, NormalizationSettings, WHERE, SAVE)


def spec(figures: NormalizationSettings, size: int, where: str) -> dict[str, Any]:
    """For handlers.policy_encoders. Raises BuildError when there are not `size` of them, or one is no use."""
    for name, values in (("mean", figures.mean), ("var", figures.var)):
        if len(values) != size:
            raise BuildError(f"{where}: {name} has {len(values)} numbers, the observation {size}")
        if not np.isfinite(values).all():
            raise BuildError(f"{where}: {name} holds a number that is not finite")
    if min(figures.var) < 0 or min(figures.var) + figures.epsilon <= 0:
        raise BuildError(f"{where}: var + epsilon must be positive")
    return {"mean": figures.mean, "var": figures.var, "epsilon": figures.epsilon, "clip": figures.clip}
