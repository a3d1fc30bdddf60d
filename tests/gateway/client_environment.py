"""Environments that stock clients have for themselves, made once for each checkout."""

import fcntl
import subprocess
import sys
from pathlib import Path

ENVIRONMENTS = Path(__file__).resolve().parents[2] / ".marina" / "test_environments"


def client_python(requirements: Path) -> Path:
    """Return the interpreter that has these requirements, after its environment was made.

    The environment has the name of the requirements' folder.
    """
    folder = ENVIRONMENTS / requirements.parent.name
    folder.mkdir(parents=True, exist_ok=True)
    python, installed = folder / "venv" / "bin" / "python", folder / "installed.txt"
    wanted = f"# Python {sys.version}\n{requirements.read_text()}"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder / "venv")], check=True)
            pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
            subprocess.run([*pip, requirements], check=True)
            installed.write_text(wanted)
    return python
