"""Reads one file of torch.save with all the objects in it, which runs code from the file, and writes its tensors.

    python -m serialize.unpickle FILE TARGET        in a process of its own, started by serialize.convert

TARGET is a file of safetensors. The names of its tensors are those of the one state dict in FILE, or, where it holds
several, each with the key of its state dict in front. The last line of the output is their number and their keys.
"""

import json
import sys

import torch
from safetensors.torch import save_file

from handlers.torchvision_ops import ensure_torchvision_ops
from serialize.state_dict import state_dicts

NO_WEIGHTS, MISSING_PACKAGE = 3, 4
"""Exit statuses; after the second the last line of the output is the package."""


def main(source: str, target: str) -> int:
    """Write the tensors of `source` to `target`; return the exit status."""
    ensure_torchvision_ops()
    try:
        content = torch.load(source, map_location="cpu", weights_only=False)
    except ModuleNotFoundError as error:
        sys.stdout.write(f"{error.name}\n")
        return MISSING_PACKAGE
    found = dict(state_dicts(content))
    if not found:
        return NO_WEIGHTS
    several = len(found) > 1
    tensors = {
        f"{key}.{name}" if several else name: tensor.detach().clone().contiguous()
        for key, state in found.items()
        for name, tensor in state.items()
    }
    save_file(tensors, target, metadata={"format": "pt"})
    summary = {"tensors": len(tensors), "keys": list(found) if several else []}
    sys.stdout.write(f"{json.dumps(summary)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
