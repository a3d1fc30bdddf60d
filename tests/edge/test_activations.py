"""Every activation of the C stays within 1e-6 of the exact value."""

import subprocess

import numpy as np
import pytest
import torch

from edge.compiler import FLAGS, NATIVE, Compiler
from handlers.policy_network import ACTIVATIONS

BOUND = 1e-6


@pytest.fixture(scope="module")
def program(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A program that writes all activations of the float32 numbers on standard input."""
    folder = tmp_path_factory.mktemp("activations")
    loop = "for (int i = 0; i < N; i++) y[i] = edge_{}(x[i]);\nfwrite(y, 4, N, stdout);"
    loops = "\n".join(loop.format(name) for name in ACTIVATIONS)
    main = f"int main(void) {{ while (fread(x, 4, N, stdin) == N) {{\n{loops}\n}} }}\n"
    head = '#include "memory.h"\n#include "network.h"\nenum { N = 65536 };\nstatic float x[N], y[N];\n'
    (folder / "all.c").write_text(head + main)
    subprocess.run([compiler.program, *FLAGS, f"-I{NATIVE}", "-o", folder / "all", folder / "all.c", "-lm"], check=True)
    return [str(folder / "all")]


@pytest.mark.parametrize("part", ["small", "usual", "large"])
def test_activations_stay_within_their_bound(program: list[str], part: str) -> None:
    spread = {"small": 1e-2, "usual": 12.0, "large": 3e4}[part]
    numbers = np.linspace(-spread, spread, 65536, dtype=np.float32)
    printed = subprocess.run(program, input=numbers.tobytes(), capture_output=True, check=True).stdout
    found = np.frombuffer(printed, dtype=np.float32).reshape(len(ACTIVATIONS), -1).astype(np.float64)
    exact = torch.from_numpy(numbers.astype(np.float64))
    worst = {}
    for name, values in zip(ACTIVATIONS, found, strict=True):
        truth = getattr(torch.nn, name)()(exact).numpy()
        worst[name] = float(np.max(np.abs(values - truth) / np.maximum(1, np.abs(truth))))
    assert {name: error for name, error in worst.items() if not error <= BOUND} == {}
