"""`python3 -m stack.setup`: a `.venv` with the pinned requirements, and the programs that the stack starts.

`python3 -m stack.setup PACKAGE...` installs further Debian packages instead; `--edge` installs those that the policy
edge is compiled with; `compose` gives Docker its Compose 2. Needs nothing but Python itself.
"""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements-dev.txt"
OLDEST_PYTHON = (3, 11)
# Program: Debian's package that has it. TorchServe runs `kill` when it ends a worker, and fails where there is none.
PROGRAMS = {"nginx": "nginx-light", "kill": "procps"}

USAGE = """\
usage: python3 -m stack.setup [compose | PACKAGE...]

  make .venv with the pinned requirements and install the programs that the stack starts;
  with compose, install Docker's plugins Compose 2 and buildx for this user instead, where they are missing;
  with PACKAGE, install these packages of Debian instead
"""


class SetupError(Exception):
    """A program is missing that only the user can install; the text has the command."""


def main(packages: Sequence[str]) -> int:
    """Set up what is missing and return the exit status."""
    try:
        if list(packages) == ["--edge"]:
            _apt_install(*_missing_for_edge())
            return 0
        if list(packages) == ["compose"]:
            _install_docker_plugins()
            return 0
        if packages:
            _apt_install(*(package for package in packages if not _is_installed(package)))
            return 0
        _check_python()
        _install_requirements()
        _apt_install(*(package for program, package in PROGRAMS.items() if not _finds(program)))
    except (SetupError, subprocess.CalledProcessError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


def _install_docker_plugins() -> None:
    from stack import docker_plugins  # an older Python than the project's cannot read it

    _check_python()
    print(docker_plugins.install())


def _check_python() -> None:
    if sys.version_info < OLDEST_PYTHON:
        found, wanted = (".".join(map(str, v)) for v in (sys.version_info[:2], OLDEST_PYTHON))
        raise SetupError(
            f"this is Python {found}; name one from {wanted} on: make setup PYTHON=/path/to/python{wanted}"
        )


def _install_requirements() -> None:
    stamp = VENV / "requirements.sha256"
    wanted = _fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    if not (VENV / "bin" / "pip").exists():
        _make_venv()
    print(f"install the pinned requirements into {VENV.name} (some minutes the first time)", flush=True)
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check"]
    subprocess.run([*pip, "--quiet", "--use-pep517", "-r", str(REQUIREMENTS)], check=True, cwd=ROOT)
    # Written last, so that an interrupted install is repeated.
    stamp.write_text(wanted)


def _make_venv() -> None:
    try:
        import ensurepip  # noqa: F401 -- Debian packages it separately, and venv reports that only halfway
    except ImportError:
        _apt_install("python3-venv")
    venv.create(VENV, clear=True, with_pip=True)


def _finds(program: str) -> bool:
    """Return True when a program is installed; the folders of system programs are not on every user's path."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin") is not None


def _missing_for_edge() -> Iterator[str]:
    """Yield the packages that the edge still needs: a C compiler with its library's headers, and those of nginx."""
    compiler, source = shutil.which("cc"), b"#include <stdio.h>\n"
    check = [compiler or "", "-fsyntax-only", "-x", "c", "-"]
    if compiler is None or subprocess.run(check, input=source, capture_output=True, check=False).returncode != 0:
        yield from ("gcc", "libc6-dev")
    sources = Path(os.environ.get("MARINA_NGINX_SOURCES", "/usr/share/nginx/src"))
    if not (sources / "src" / "core" / "nginx.h").is_file():
        yield "nginx-dev"


def _is_installed(package: str) -> bool:
    query = ["dpkg-query", "--show", "--showformat=${db:Status-Status}", package]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=False).stdout == "installed"
    except FileNotFoundError:
        raise SetupError(f"{package} is missing, and this is not Debian: install it as this system does") from None


def _apt_install(*packages: str) -> None:
    if not packages:
        return
    by_hand = f"missing: {', '.join(packages)}; install with: apt-get install {' '.join(packages)}"
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(by_hand)
    print(f"install Debian's {', '.join(packages)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["install", "-y", "-qq", "--no-install-recommends", *packages]
    try:
        with _no_service_start():
            for arguments in (["update", "-qq"], install):
                subprocess.run(["apt-get", *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    except subprocess.CalledProcessError:
        raise SetupError(by_hand) from None


@contextlib.contextmanager
def _no_service_start() -> Iterator[None]:
    """Keep Debian from starting installed services, such as nginx on port 80: the stack starts its own."""
    policy = Path("/usr/sbin/policy-rc.d")
    if policy.exists():
        yield
        return
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    try:
        yield
    finally:
        policy.unlink()


def _fingerprint() -> str:
    """Return the hash of the interpreter's version and all requirement files, which determine the packages."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(ROOT.glob("requirements*.txt")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _run() -> int:
    if sys.version_info < OLDEST_PYTHON:  # too old for the import below; main reports it
        return main(sys.argv[1:])
    import commands

    return commands.run(main, USAGE)


if __name__ == "__main__":
    sys.exit(_run())
