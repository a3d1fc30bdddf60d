"""Declares the operators that torchvision's wheel lacks beside some versions of torch, in peers that import it.

See handlers/torchvision_ops.py. Nothing is imported before the peer itself imports torchvision.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

OPERATORS = Path(__file__).resolve().parents[3] / "handlers" / "torchvision_ops.py"


class DeclareOperators:
    """A finder that is called before all others, and finds nothing."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Declare the operators before the first import of torchvision."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.spec_from_file_location("marina_torchvision_ops", OPERATORS)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            # Kept, because the declarations end with the module.
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            module.ensure_torchvision_ops()
        return None


sys.meta_path.insert(0, DeclareOperators())
