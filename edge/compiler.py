"""Compiles the C of a policy with this machine's compiler, once for each content.

    policy.h + native/*.h + harness.c              ──▶ a program that answers bodies from standard input
    policy.h + native/*.h + ngx_http_edge_module.c ──▶ a module of this machine's nginx

`python3 -m edge.compiler FOLDER [HEADERS]` compiles FOLDER/policy.h to a module, checks that nginx loads it, and names
it in FOLDER/module.conf. A build stage of the edge's image runs this with nothing but Python's own library. HEADERS
is the folder of nginx's configured headers, FOLDER unless it is given.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from errors import EdgeError, MarinaError
from files import explained, replace_durably, staging_folder

NATIVE = Path(__file__).resolve().parent / "native"
INSTALL = "install what the edge needs with: apt-get install gcc libc6-dev nginx-dev"
# No flag may reorder sums: with -ffast-math an overflow, which the handler refuses, could become a number.
FLAGS = ("-std=gnu11", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wall",
         "-Wextra", "-Werror", "-Wno-unused-function", "-Wno-psabi")  # fmt: skip
SANITIZED = ("-std=gnu11", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-math-errno",
             "-Wno-psabi")  # fmt: skip
# nginx's own headers cause these warnings.
MODULE_WARNINGS = ("-Wno-unused-parameter", "-Wno-sign-compare", "-Wno-cast-function-type")
# At a reload nginx loads the next module beside the previous one, with global symbols; each must use its own.
MODULE_LINK = ("-fPIC", "-shared", "-Wl,-Bsymbolic")

NGINX_SOURCES = Path("/usr/share/nginx/src")
"""The folder of Debian's nginx-dev; the environment variable MARINA_NGINX_SOURCES names another one."""

INCLUDES = ("src/core", "src/event", "src/event/modules", "src/event/quic", "src/os/unix", "objs", "src/http",
            "src/http/modules", "src/http/v2")  # fmt: skip


@dataclass(frozen=True)
class Compiler:
    """A C compiler, and the folders of its results and of nginx's configured headers."""

    program: str
    cache: Path
    headers: Path

    def harness(self, header: str, *, sanitized: bool = False) -> Path:
        """Compile the program that answers without nginx; `sanitized` adds AddressSanitizer."""
        return self._compile(header, "harness.c", SANITIZED if sanitized else FLAGS, "")

    def module(self, header: str, nginx: str) -> Path:
        """Compile the dynamic module of nginx. Raises EdgeError without nginx's headers."""
        options = (*FLAGS, *MODULE_WARNINGS, *include_flags(nginx, self.headers), *MODULE_LINK)
        return self._compile(header, "ngx_http_edge_module.c", options, ".so")

    def _compile(self, header: str, source: str, options: tuple[str, ...], suffix: str) -> Path:
        digest = hashlib.sha256("\0".join((header, source, *options, self._version(), _processor())).encode())
        for file in sorted(NATIVE.iterdir()):
            digest.update(file.read_bytes())
        target = self.cache / f"{Path(source).stem}-{digest.hexdigest()[:20]}{suffix}"
        if target.exists():
            return target
        with explained(target), staging_folder(self.cache, target.name) as work:
            (work / "policy.h").write_text(header)
            made = work / target.name
            files = (f"-I{work}", f"-I{NATIVE}", "-o", str(made), str(NATIVE / source))
            done = subprocess.run([self.program, *options, *files, "-lm"], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                errors = (line for line in done.stderr.splitlines() if "error: " in line)
                raise EdgeError(
                    f"{self.program} does not compile the policy: {next(errors, done.stderr.strip()[:200])}"
                )
            replace_durably(made, target)
        return target

    def _version(self) -> str:
        return subprocess.run([self.program, "--version"], capture_output=True, text=True, check=False).stdout


def find_compiler(setting: str, cache: Path) -> Compiler:
    """Return the compiler that `edge.compiler` names: `auto` for cc, or a program. Raises EdgeError without it."""
    program = shutil.which("cc" if setting == "auto" else setting)
    if program is None:
        missing = "no C compiler" if setting == "auto" else f"edge.compiler={setting}: there is no such program"
        raise EdgeError(f"{missing}; {INSTALL}")
    return Compiler(program, cache, cache)


def nginx_program() -> str:
    """Return the path of nginx; Debian keeps servers in /usr/sbin, which is not on every PATH."""
    found = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
    if found is None:
        raise EdgeError("nginx is not installed; `make setup` installs it, or run: apt-get install nginx-light")
    return found


def check_configuration(nginx: str, configuration: Path) -> None:
    """Have nginx load a configuration and its modules. Raises EdgeError with nginx's reason when it does not."""
    command = [nginx, "-q", "-t", "-e", "stderr", "-p", str(configuration.parent), "-c", str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeError(f"nginx does not load the edge: {done.stderr.strip().splitlines()[0]}")


def include_flags(nginx: str, cache: Path) -> tuple[str, ...]:
    """Return `-I` of every folder of headers that a module needs.

    nginx-dev has the sources of nginx. Their own `configure`, run once with Debian's flags, writes the header that says
    which options this nginx has. Raises EdgeError when the sources are missing, or of another version of nginx.
    """
    sources = Path(os.environ.get("MARINA_NGINX_SOURCES", NGINX_SOURCES))
    header = sources / "src" / "core" / "nginx.h"
    if not header.is_file():
        raise EdgeError(f"nginx's headers are missing; {INSTALL}")
    version = re.search(r'NGINX_VERSION\s+"([\d.]+)"', header.read_text())
    running = subprocess.run([nginx, "-v"], capture_output=True, text=True, check=False).stderr
    if version is None or f"nginx/{version[1]}" not in running:
        raise EdgeError(f"the headers in {sources} are not those of {running.strip()}; {INSTALL}")
    flags = (sources / "conf_flags").read_text()
    mark = hashlib.sha256(f"{sources}\0{running}\0{flags}".encode()).hexdigest()[:12]
    configured = cache / f"nginx-{mark}"
    if not (configured / "objs").is_dir():
        configure_headers(sources, configured)
    return tuple(f"-I{configured / folder if folder == 'objs' else sources / folder}" for folder in INCLUDES)


def configure_headers(sources: Path, target: Path) -> None:
    """Run the `configure` of nginx's sources into `target`. Raises EdgeError with the line that ended it."""
    with explained(target), staging_folder(target.parent, target.name) as work:
        tree = work / "tree"
        tree.mkdir()
        for name in ("auto", "configure", "src", "conf_flags"):
            (tree / name).symlink_to(sources / name)
        script = '. ./conf_flags; ./configure "${NGX_CONF_FLAGS[@]}"'
        done = subprocess.run(["bash", "-c", script], cwd=tree, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            # Its checks name compiler options such as -Werror; the line that ended it has "error:".
            printed = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
            errors = (line for line in reversed(printed) if "error: " in line)
            reason = next(errors, printed[-1] if printed else "it printed nothing")
            raise EdgeError(f"nginx's sources do not configure: {reason}")
        (tree / "objs").rename(work / "objs")
        target.mkdir(exist_ok=True)
        (work / "objs").rename(target / "objs")


def compile_folder(folder: Path, headers: Path) -> Path:
    """Compile FOLDER/policy.h, and write module.conf for the `include` of the image's nginx.conf.

    Each content has its own module name, because at a reload nginx does not load another file under a known name.
    """
    header = folder / "policy.h"
    if not header.is_file():
        raise EdgeError(f"there is no {header}; write it with: python -m edge export FOLDER served_model=NAME")
    nginx = nginx_program()
    compiler = Compiler(find_compiler("auto", folder).program, folder, headers)
    module = compiler.module(header.read_text(), nginx)
    with staging_folder(folder, "module.conf") as work:
        draft = work / "module.conf"
        draft.write_text(f'load_module "{module}";\n')
        server = "events {}\nhttp { access_log off; server { location / { edge 1m; } } }\n"
        (work / "nginx.conf").write_text(f"pid {work}/pid;\n{draft.read_text()}{server}")
        check_configuration(nginx, work / "nginx.conf")
        replace_durably(draft, folder / "module.conf")
    for old in folder.glob("ngx_http_edge_module-*.so"):
        if old != module:
            old.unlink()
    return module


def main(arguments: Sequence[str]) -> int:
    """Compile a folder and return the exit status."""
    folder = Path(arguments[0]).absolute()
    try:
        with explained(folder):
            module = compile_folder(folder, Path(arguments[1]) if len(arguments) > 1 else folder)
    except MarinaError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    sys.stdout.write(f"{folder / 'module.conf'} loads {module.name}\n")
    return 0


def _processor() -> str:
    """Return the processor's features, from which -march=native follows."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.machine())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
