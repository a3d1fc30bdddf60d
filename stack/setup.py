"""`python3 -m stack.setup`: a `.venv` with the pinned requirements, and nginx. Needs nothing but Python itself."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
REQUIREMENTS = ROOT / "requirements-dev.txt"
OLDEST_PYTHON = (3, 11)


class SetupError(Exception):
    """Something is missing that only the user can install; the text says how."""


def main() -> int:
    """Set up what is missing and return the exit status; a second run finds nothing to do."""
    try:
        _check_python()
        _install_requirements()
        _install_nginx()
    except (SetupError, subprocess.CalledProcessError) as error:
        print(f"setup: {error}", file=sys.stderr)
        return 1
    return 0


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
    # Written last: an interrupted install is done again.
    stamp.write_text(wanted)


def _make_venv() -> None:
    try:
        import ensurepip  # noqa: F401 -- Debian ships it apart, and venv says so only after half its work
    except ImportError:
        _apt_install("python3-venv")
    venv.create(VENV, clear=True, with_pip=True)


def _install_nginx() -> None:
    if shutil.which("nginx") or shutil.which("/usr/sbin/nginx"):
        return
    _apt_install("nginx-light")


def _apt_install(package: str) -> None:
    by_hand = f"{package} is missing; install it with: apt-get install {package}"
    if os.getuid() != 0 or shutil.which("apt-get") is None:
        raise SetupError(by_hand)
    print(f"install Debian's {package}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["install", "-y", "-qq", "--no-install-recommends", package]
    try:
        with _no_service_start():
            for arguments in (["update", "-qq"], install):
                subprocess.run(["apt-get", *arguments], check=True, stdout=subprocess.DEVNULL, env=environment)
    except subprocess.CalledProcessError:
        raise SetupError(by_hand) from None


@contextlib.contextmanager
def _no_service_start() -> Iterator[None]:
    """Keep Debian from starting nginx on port 80 after installing it: the kit starts its own, where it is told to."""
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
    """What the installed packages follow from: the interpreter and every requirement file."""
    digest = hashlib.sha256(sys.version.encode())
    for path in sorted(ROOT.glob("requirements*.txt")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main())
