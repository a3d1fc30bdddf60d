"""Ends the build when the installed torch is built for another CUDA version than the image promises.

`python check_cuda.py 12.8` checks for that version, `python check_cuda.py ""` accepts any (a CPU image).
"""

import sys
from importlib import import_module


def complaint(wanted: str, found: str | None) -> str | None:
    """Return the problem in one line; None when torch fits. `found` is None for a torch without CUDA."""
    if not wanted or found == wanted:
        return None
    made_for = f"CUDA {found}" if found else "the CPU alone"
    return f"torch is built for {made_for}, CUDA_VERSION is {wanted}: name the index of its wheels with TORCH_INDEX"


if __name__ == "__main__":
    sys.exit(complaint(sys.argv[1], import_module("torch").version.cuda))
