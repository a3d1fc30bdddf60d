"""Compiles generated C with the machine's own `cc`, once for each content: the result is found again by its hash."""

import hashlib
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edge.nginx_headers import include_flags
from errors import EdgeError
from files import replace_durably, staging_folder

NATIVE = Path(__file__).resolve().parent / "native"
# Nothing that reorders sums: -ffast-math would let an overflow, which the handler refuses, pass as a number.
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wall",
         "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-psabi")  # fmt: skip
CHECKED = ("-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-math-errno",
           "-Wno-psabi")  # fmt: skip


@dataclass(frozen=True)
class Compiler:
    """A C compiler, and the folder for what it makes."""

    program: str
    cache: Path

    def harness(self, header: str, *, checked: bool = False) -> Path:
        """The program that answers without nginx; `checked` puts it under AddressSanitizer."""
        return self._build(header, "harness.c", (*(CHECKED if checked else FLAGS), "-o"), "")

    def module(self, header: str, nginx: str) -> Path:
        """The dynamic module of nginx. Raises EdgeError without nginx's headers."""
        folders = include_flags(nginx, self.cache)
        # nginx's own headers are not free of these warnings.
        quiet = ("-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-cast-function-type")
        # At a reload nginx loads the next module beside the last, all symbols global: each must mean its own.
        shared = ("-fPIC", "-shared", "-Wl,-Bsymbolic", "-o")
        return self._build(header, "ngx_http_edge_module.c", (*FLAGS, *quiet, *folders, *shared), ".so")

    def _build(self, header: str, source: str, options: tuple[str, ...], suffix: str) -> Path:
        digest = hashlib.sha256("\0".join((header, source, *options, self._version(), _processor())).encode())
        for file in sorted(NATIVE.iterdir()):
            digest.update(file.read_bytes())
        target = self.cache / f"{Path(source).stem}-{digest.hexdigest()[:20]}{suffix}"
        if target.exists():
            return target
        with staging_folder(self.cache, target.name) as work:
            (work / "policy.h").write_text(header)
            made = work / target.name
            command = [self.program, f"-I{work}", f"-I{NATIVE}", *options, str(made), str(NATIVE / source), "-lm"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                first = next(
                    (line for line in done.stderr.splitlines() if "error: " in line), done.stderr.strip()[:200]
                )
                raise EdgeError(f"{self.program} does not compile the policy: {first}")
            replace_durably(made, target)
        return target

    def _version(self) -> str:
        return subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False).stdout


def find_compiler(setting: str, cache: Path) -> Compiler | None:
    """The compiler that `edge.compiler` names: `auto` for cc where there is one, else a program."""
    program = shutil.which("cc" if setting == "auto" else setting)
    if program is None and setting != "auto":
        raise EdgeError(
            f"edge.compiler={setting}: there is no such program; install one with: apt-get install gcc libc6-dev"
        )
    return Compiler(program, cache) if program is not None else None


def _processor() -> str:
    """What -march=native follows from."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())
