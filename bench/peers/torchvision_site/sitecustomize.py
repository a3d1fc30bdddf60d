"""On the path of the peers that import torchvision: declares the operators that its wheel lacks beside some torches.

See handlers/torchvision_ops.py. Nothing is imported before the peer itself imports torchvision.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

OPERATORS = Path(__file__).resolve().parents[3] / "handlers" / "torchvision_ops.py"


class Before:
    """A finder that finds nothing, but is asked first."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Declare the operators once, when torchvision is asked for."""
        if name == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.spec_from_file_location("marina_torchvision_ops", OPERATORS)
            assert spec is not None
            assert spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            # Kept: what it declares goes when it goes.
            sys.modules[spec.name] = module
            spec.loader.exec_module(module)
            module.ensure_torchvision_ops()
        return None


sys.meta_path.insert(0, Before())
