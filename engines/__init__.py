"""Where models run: one interface, and behind it each engine that can serve the kit's archives.

    interface     what delivery, gateway and load tests ask of an engine
    described     what an engine tells about models, versions and workers
    chosen        `of(settings)`: the engine that `engine=` names
    torchserve/   TorchServe's HTTP interfaces: paths, words, keys, and what its refusals mean
    ray_serve     Ray Serve, where the kit's own application speaks the same interfaces

Only what lies in here knows how an engine is spoken to.
"""

from engines.chosen import check_installed, of

__all__ = ["check_installed", "of"]
