"""Keeps torch out of a worker that does not need it: `import torch` loads it when something first looks inside.

TorchServe's worker imports torch at its top, only to ask whether an answer is a tensor; that costs more than all the
rest of starting one. TorchServe puts the archive's folder on the worker's path, and Python runs a `sitecustomize.py`
that it finds there before anything else: the archive carries this file under that name.

`importlib.util.LazyLoader` does not do: it loads as soon as a second module says `import torch`.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from types import ModuleType


class Deferred(ModuleType):
    """An installed module that is not loaded yet.

    `__path__` is left out until then, so that importing a submodule loads the package first, as it should.
    """

    def __getattr__(self, name: str) -> object:
        """Load the module in place, the first time that anything is missing in it."""
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on it is an ordinary module
        self.__path__ = spec.submodule_search_locations or []
        try:
            spec.loader.exec_module(self)
        except BaseException:
            sys.modules.pop(spec.name, None)  # as a failed import leaves it
            raise
        return getattr(self, name)


def defer(name: str) -> None:
    """Put a package in place that is loaded when it is first used; nothing happens where it is not installed."""
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    module = Deferred(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    module.__package__ = name
    sys.modules[name] = module


def run_hidden_sitecustomize() -> None:
    """Run the `sitecustomize` of the installation, which this file stands in front of."""
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120  # pathlib would be the slowest import here
    behind = [entry for entry in sys.path if os.path.realpath(entry) != here]
    spec = PathFinder.find_spec("sitecustomize", behind)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    defer("torch")
    run_hidden_sitecustomize()
