"""`aoti`: torch.export, then a package compiled by AOTInductor for the device it is built on.

The package is machine code, so no two machines write the same bytes. The card names the device, and a worker that
cannot run the package refuses it. The export needs a C++ compiler and takes a minute.
"""

import contextlib
import copy
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from errors import BuildError
from handlers.runtimes.pytorch import converted
from serialize.loaded_model import LoadedModel

CACHE = "TORCHINDUCTOR_CACHE_DIR"
MAX_BATCH = 1024  # the largest served_model.request_params.batch_size
# Inductor picks its vector width by these instructions; the card names those that this CPU has.
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_tile")


@dataclass(frozen=True)
class Aoti:
    """A package of torch._inductor.aoti_compile_and_package."""

    name: str = "aoti"
    file: str = "model.pt2"
    runtime: str = "aoti"

    def export(self, loaded: LoadedModel, target: Path) -> dict[str, Any]:
        """Write the package. Raises BuildError without a C++ compiler."""
        _check_compiler()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = converted(copy.deepcopy(loaded.network), **loaded.compute.card()).to(device)
        example = loaded.example.to(device)
        with _private_cache(), torch.no_grad():
            # Imported here: the compiler's package takes seconds to import.
            from torch._inductor import aoti_compile_and_package

            try:
                batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
                exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
                aoti_compile_and_package(exported, package_path=str(target))
            except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
                raise BuildError(f"the AOTInductor export failed: {_first_line(error)}") from None
        return {**loaded.compute.card(), "built_for": _built_for(device)}


def _check_compiler() -> None:
    """Raise BuildError if the compiler that Inductor calls is missing."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BuildError(
            f"artifact aoti needs a C++ compiler, and there is no {compiler} here; install g++, name another compiler "
            "in CXX, or build another artifact"
        )


@contextlib.contextmanager
def _private_cache() -> Iterator[None]:
    """Let Inductor compile in a new folder: the shared cache may hold files of other users."""
    before = os.environ.get(CACHE)
    with tempfile.TemporaryDirectory(prefix="marina-aoti-") as folder:
        os.environ[CACHE] = folder
        try:
            yield
        finally:
            os.environ.pop(CACHE)
            if before is not None:
                os.environ[CACHE] = before


def _built_for(device: torch.device) -> dict[str, Any]:
    if device.type == "cuda":
        return {"device": "cuda", "name": torch.cuda.get_device_name(device)}
    has = torch.cpu.get_capabilities()
    instructions = [name for name in INSTRUCTIONS if has.get(name)]
    return {"device": "cpu", "machine": platform.machine(), "instructions": instructions}


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


FORMAT = Aoti()
