"""Defers `import torch` in a worker until something uses the module.

TorchServe's worker imports torch only to check whether an answer is a tensor, and that takes longer than the rest of
its start. TorchServe puts the archive's folder on the worker's path, and Python runs a `sitecustomize.py` from there
before anything else: the archive holds this file under that name.

`importlib.util.LazyLoader` does not work here: it loads the module as soon as a second one runs `import torch`.
"""

import importlib.util
import os
import sys
from importlib.machinery import PathFinder
from types import ModuleType


class Deferred(ModuleType):
    """An installed module that is not loaded yet.

    `__path__` is missing until then, so that importing a submodule loads the package first.
    """

    def __getattr__(self, name: str) -> object:
        """Load the module in place when an attribute is first missing."""
        spec = self.__spec__
        assert spec is not None
        assert spec.loader is not None
        self.__class__ = ModuleType  # type: ignore[assignment]  # from here on it is an ordinary module
        self.__path__ = spec.submodule_search_locations or []
        try:
            spec.loader.exec_module(self)
        except BaseException:
            sys.modules.pop(spec.name, None)  # as after a failed import
            raise
        return getattr(self, name)


def defer(name: str) -> None:
    """Install a package that loads at its first use; do nothing where it is not installed."""
    spec = importlib.util.find_spec(name) if name not in sys.modules else None
    if spec is None or spec.loader is None:
        return
    module = Deferred(name)
    module.__spec__, module.__loader__, module.__file__ = spec, spec.loader, spec.origin
    module.__package__ = name
    sys.modules[name] = module


def run_hidden_sitecustomize() -> None:
    """Run the installation's own `sitecustomize`, which this file shadows."""
    here = os.path.dirname(os.path.realpath(__file__))  # noqa: PTH120  # pathlib would be the slowest import here
    behind = [entry for entry in sys.path if os.path.realpath(entry) != here]
    spec = PathFinder.find_spec("sitecustomize", behind)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if __name__ == "sitecustomize":
    defer("torch")
    run_hidden_sitecustomize()
