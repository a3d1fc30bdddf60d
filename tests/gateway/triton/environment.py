"""The environment that the stock Triton client has for itself, made once for each checkout."""

import fcntl
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
REQUIREMENTS = Path(__file__).parent / "requirements.txt"
FOLDER = ROOT / ".marina" / "test_environments" / "triton"


def triton_python() -> Path:
    """Return the interpreter that has the client, after its environment was made."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    python, installed = FOLDER / "venv" / "bin" / "python", FOLDER / "installed.txt"
    wanted = f"# Python {sys.version}\n{REQUIREMENTS.read_text()}"
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not installed.exists() or installed.read_text() != wanted:
            subprocess.run([sys.executable, "-m", "venv", "--clear", str(FOLDER / "venv")], check=True)
            pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]
            subprocess.run([*pip, REQUIREMENTS], check=True)
            installed.write_text(wanted)
    return python
