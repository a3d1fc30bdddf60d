"""Where models run: one interface, and behind it each engine that can serve the kit's archives.

    interface     what delivery, gateway and load tests ask of an engine
    described     what an engine tells about models, versions and workers
    chosen        the engine that `engine=` names, one line for each there is
    torchserve/   TorchServe's two interfaces: paths, words, keys, and what its refusals mean
    ray_serve     Ray Serve, where the kit's own application speaks the same interfaces

Only what lies in here knows how an engine is spoken to.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines.interface import Engine
    from settings import Settings


def of(settings: "Settings") -> "Engine":
    """The engine of these settings; no host is asked yet. Raises ConfigError for a name that none has."""
    # Imported here: what runs inside an engine lies below this package as well, and starts without settings.
    from engines.chosen import chosen

    return chosen(settings)
