"""The engine that the settings name."""

from collections.abc import Callable, Mapping
from importlib.util import find_spec

from engines.interface import Engine, Facts
from engines.ray_serve import FACTS as RAY
from engines.torchserve.engine import FACTS as TORCHSERVE
from engines.torchserve.engine import TorchServeEngine
from errors import ConfigError
from settings import Settings
from settings.schema import Engine as EngineSettings

# One line an engine: its name in `config/engine/`, and how it is reached.
KINDS: Mapping[str, Callable[[EngineSettings], Engine]] = {
    "torchserve": lambda settings: TorchServeEngine(settings, TORCHSERVE),
    "ray": lambda settings: TorchServeEngine(settings, RAY),
}


def chosen(settings: Settings) -> Engine:
    """The engine of these settings; no host is asked yet. Raises ConfigError for a name that none has."""
    made = KINDS.get(settings.engine.name)
    if made is None:
        raise ConfigError(f"engine.name: no engine {settings.engine.name!r}; there are {', '.join(sorted(KINDS))}")
    return made(settings.engine)


def check_installed(facts: Facts) -> None:
    """Raises ConfigError where an engine is to run here and its package is missing; to speak to it needs none."""
    if find_spec(facts.package) is None:
        how = f"pip install -r {facts.requirements}"
        raise ConfigError(f"{facts.title} needs the package {facts.package!r}, which is not installed: {how}")
