"""The engines that run models: the client of an engine, and the engine in Python that Ray can place.

    engine_profile   the properties of an engine, and the types of its descriptions and responses
    profiles         one row for each engine that `engine=` can name
    torchserve/      client of TorchServe's Inference and Management API, which every engine answers
    python/          an engine in Python: the same two APIs, batching, and workers that run TorchServe's handlers
    ray/             places that engine's workers on a Ray cluster

No other package knows the engine's paths, queries and responses.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.engine_profile import EngineProfile
    from engines.torchserve.engine_client import EngineClient
    from settings import Settings
    from settings.schema import EngineHostSettings

# Imported inside the functions: workers of the engine in Python import this package too, and start without settings.


def profile(settings: "Settings") -> "EngineProfile":
    """Return the profile of the engine that the settings name. Raises ConfigError for an unknown name."""
    from engines.profiles import profile_of

    return profile_of(settings.engine.name)


def connect(
    settings: "Settings", host: "EngineHostSettings | None" = None, *, timeout_s: float = 30.0
) -> "EngineClient":
    """Return a client of one engine host, the first for None, without any request to it yet.

    `timeout_s` bounds the requests that only describe something. Raises ConfigError for an unknown engine.
    """
    from engines.torchserve.engine_client import EngineClient

    return EngineClient(settings.engine, host or settings.engine.hosts[0], profile(settings), timeout_s)
