"""`aoti`: torch.export, then a package compiled by AOTInductor for the device it is built on.

No two machines write the same bytes: it is machine code for this one. The card says for what; a worker that cannot run
it refuses it. It needs a C++ compiler, and a minute.
"""

import contextlib
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
from serialize.formats._computing import computing
from serialize.source import Source

CACHE = "TORCHINDUCTOR_CACHE_DIR"
MOST = 1024  # what served_model.request_params.batch_size may be
# Of the instructions that Inductor picks its vector width by, the card names those that this CPU has.
INSTRUCTIONS = ("avx2", "avx512_f", "avx512_bf16", "amx_tile")


@dataclass(frozen=True)
class Aoti:
    """torch.export and torch._inductor.aoti_compile_and_package."""

    name: str = "aoti"
    file: str = "model.pt2"
    runtime: str = "aoti"

    def export(self, source: Source, target: Path) -> dict[str, Any]:
        """Writes the package. Raises BuildError without a C++ compiler."""
        _need_compiler()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        network = computing(source).to(device)
        example = source.example.to(device)
        with _private_cache(), torch.no_grad():
            # Here and not at the top: the compiler's package takes seconds to import.
            from torch._inductor import aoti_compile_and_package

            try:
                batch = torch.export.Dim("batch", min=1, max=MOST)
                exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
                aoti_compile_and_package(exported, package_path=str(target))
            except (RuntimeError, subprocess.CalledProcessError, OSError) as error:
                raise BuildError(f"the AOTInductor export failed: {_first_line(error)}") from None
        return {**source.computing.card(), "built_for": _built_for(device)}


def _need_compiler() -> None:
    """Raises BuildError where the program is missing that Inductor will call."""
    compiler = os.environ.get("CXX", "g++")
    if shutil.which(compiler) is None:
        raise BuildError(
            f"artifact aoti is compiled, and there is no C++ compiler here: {compiler}; install g++, name another in "
            "CXX, or build another artifact"
        )


@contextlib.contextmanager
def _private_cache() -> Iterator[None]:
    """Inductor compiles in a folder of its own: what others left in the common one is not to be trusted or kept."""
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
