"""Every activation of the generated C, and of the Lua, stays within 1e-6 of the exact value."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from edge import luajit
from edge.compiler import FLAGS, NATIVE, Compiler
from edge.lua_source import RUNTIME
from handlers.policy_network import ACTIVATIONS

BOUND = 1e-6
LUA = """
package.path = arg[1] .. "/?.lua;" .. package.path
local ffi, known = require "ffi", require("edge.lua.network").activations
local count, size = 65536, 65536 * 4
local x, y = ffi.new("float[?]", count), ffi.new("float[?]", count)
ffi.copy(x, io.read(size), size)
for place = 2, #arg do
  local activation = known[arg[place]]
  for at = 0, count - 1 do y[at] = activation(x[at]) end
  io.write(ffi.string(y, size))
end
"""


@pytest.fixture(scope="module")
def program(compiler: Compiler, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Prints all activations of the numbers on standard input, float32 each."""
    folder = tmp_path_factory.mktemp("activations")
    loop = "for (int i = 0; i < N; i++) y[i] = edge_{}(x[i]);\nfwrite(y, 4, N, stdout);"
    loops = "\n".join(loop.format(name) for name in ACTIVATIONS)
    main = f"int main(void) {{ while (fread(x, 4, N, stdin) == N) {{\n{loops}\n}} }}\n"
    head = '#include "memory.h"\n#include "activation.h"\nenum { N = 65536 };\nstatic float x[N], y[N];\n'
    (folder / "all.c").write_text(head + main)
    subprocess.run([compiler.program, *FLAGS, f"-I{NATIVE}", "-o", folder / "all", folder / "all.c", "-lm"], check=True)
    return [str(folder / "all")]


@pytest.fixture(scope="module")
def script(lua_folder: Path) -> list[str]:
    """The same in Lua."""
    (lua_folder / "all.lua").write_text(LUA)
    return [sys.executable, luajit.__file__, str(lua_folder / "all.lua"), str(RUNTIME), *ACTIVATIONS]


@pytest.mark.parametrize("part", ["small", "usual", "large"])
@pytest.mark.parametrize("build", ["program", "script"], ids=["compiled", "in Lua"])
def test_activations_stay_within_their_bound(request: pytest.FixtureRequest, build: str, part: str) -> None:
    command: list[str] = request.getfixturevalue(build)
    spread = {"small": 1e-2, "usual": 12.0, "large": 3e4}[part]
    numbers = np.linspace(-spread, spread, 65536, dtype=np.float32)
    printed = subprocess.run(command, input=numbers.tobytes(), capture_output=True, check=True).stdout
    found = np.frombuffer(printed, dtype=np.float32).reshape(len(ACTIVATIONS), -1).astype(np.float64)
    exact = torch.from_numpy(numbers.astype(np.float64))
    worst = {}
    for name, values in zip(ACTIVATIONS, found, strict=True):
        truth = getattr(torch.nn, name)()(exact).numpy()
        worst[name] = float(np.max(np.abs(values - truth) / np.maximum(1, np.abs(truth))))
    assert {name: error for name, error in worst.items() if not error <= BOUND} == {}
