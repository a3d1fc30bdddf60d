"""The protocol's gRPC messages and service, as tritonclient publishes them.

They stand in the package `tritonclient.grpc`, which imports its client, and with it numpy, before anything in it. So
the modules are imported below a plain package in its place, which is taken away again: whoever imports the client
later, in the same process, gets it whole, and with these very modules.
"""

import importlib.util
import sys
from types import ModuleType
from typing import Any

_PACKAGE = "tritonclient.grpc"


def _published(*names: str) -> tuple[ModuleType, ...]:
    """Modules of the package by name, imported without the package's own code unless that has run already."""
    if _PACKAGE in sys.modules:
        return tuple(importlib.import_module(f"{_PACKAGE}.{name}") for name in names)
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is None:
        raise ModuleNotFoundError(f"no module named {_PACKAGE}", name=_PACKAGE)
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)  # made, and not executed
    try:
        return tuple(importlib.import_module(f"{_PACKAGE}.{name}") for name in names)
    finally:
        del sys.modules[_PACKAGE]


# Generated code without type hints.
pb: Any
service: Any
config: Any
pb, service, config = _published("service_pb2", "service_pb2_grpc", "model_config_pb2")
